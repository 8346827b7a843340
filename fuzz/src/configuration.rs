//! Targets of the configuration files and of what they name. Who may write them is the administrator, so a find here is a
//! bad message rather than a hole; but a file in the wrong place must not end the application.

use hsmd::config::Config;

/// Keys and values of a client file.
pub(crate) const CLIENT_WORDS: &[&str] = &[
    "socket = \"/run/x.sock\"\n",
    "deadline_ms = 5000\n",
    "deadline_ms = -1\n",
    "fork = \"fail\"\n",
    "service_user = \"root\"\n",
    "servers = [\"10.0.0.1:1792\", \"[::1]:1792\"]\n",
    "ca = \"ca.pem\"\ncertificate = \"a.pem\"\nkey = \"a.key\"\n",
    "[[",
    "'''",
    "\"\"\"",
    "\\u{",
    "1979-05-27T07:32:00Z",
    "inf",
    "0x",
    "{a=",
];

/// Keys and values of a `Chrystoki.conf`.
pub(crate) const CHRYSTOKI_WORDS: &[&str] = &[
    "LunaSA Client = {\n",
    "VirtualToken = {\n",
    "HAConfiguration = {\n",
    "}\n",
    " = ",
    ";\n",
    "ServerName00 = 10.0.0.10;\n",
    "ServerPort99 = 65536;\n",
    "ServerName4294967296 = h;\n",
    "VirtualToken00SN = 0123456789;\n",
    "HAOnly = 1;\n",
    "reconnAtt = -9223372036854775808;\n",
    "// ",
    "#",
];

/// Lines of PEM files.
pub(crate) const PEM_WORDS: &[&str] = &[
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN ",
    "-----",
    "PRIVATE KEY",
    "Zm9v",
    "=",
    "\r\n",
];

/// Keys and values of hsmd.toml.
pub(crate) const DAEMON_WORDS: &[&str] = &[
    "[data]\n",
    "[store]\n",
    "[work]\n",
    "[pin]\n",
    "[hsm]\n",
    "max_data = 18446744073709551615\n",
    "segment_bytes = 9223372036854775807\n",
    "tries = 0\n",
    "socket = \"\"\n",
    "data_dir = \"/\"\n",
    "policy = \"legacy\"\n",
    "[[",
    "'''",
    "\"\"\"",
    "\\u{",
    "nan",
    "0x",
    "{a=",
];

/// What forms have.
pub(crate) const QUERY_WORDS: &[&str] = &[
    "Action=CreateCluster&",
    "Tags.Tag.1.Key=a&",
    "Tags.member.4294967296.Value=b&",
    "TagKeys.TagKey.100000=c&",
    "TagKeys=&",
    "SkipFinalClusterSnapshot=true&",
    "MaxRecords=-2147483649&",
    "%c3%a4",
    "%",
    "..",
    "=&=",
];

/// A form.
pub(crate) fn query(data: &[u8]) {
    hsmd_aws::fuzzing::query(data);
}

/// Good forms.
pub(crate) fn query_seeds() -> Vec<Vec<u8>> {
    vec![
        b"Action=CreateHsmClientCertificate&Version=2012-12-01&HsmClientCertificateIdentifier=a+b&Tags.Tag.1.Key=k&\
          Tags.Tag.1.Value=%C3%A4&Tags.Tag.2.Key=l"
            .to_vec(),
        b"ClusterIdentifier=c&NodeType=dc2.large&MasterUsername=u&Port=5439&Encrypted=true&IamRoles.IamRoleArn.1=x"
            .to_vec(),
        b"ResourceName=arn&TagKeys.member.1=a&TagKeys.2=b&MaxRecords=20&Marker=".to_vec(),
    ]
}

/// The module's client file.
pub(crate) fn client(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        hsmd_pkcs11::fuzzing::client_file(text);
    }
}

/// Good client files.
pub(crate) fn client_seeds() -> Vec<Vec<u8>> {
    vec![
        b"socket = \"/run/hsmd/hsmd.sock\"\ndeadline_ms = 5000\nfork = \"fail\"\nlater = [1, { a = 2 }]\n".to_vec(),
        b"# nothing\n".to_vec(),
        b"servers = [\"hsm.example:1792\"]\nca = \"ca.pem\"\ncertificate = \"app.pem\"\nkey = \"/k/app.key\"\n"
            .to_vec(),
    ]
}

/// A `Chrystoki.conf`.
pub(crate) fn chrystoki(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        hsmd_pkcs11::fuzzing::chrystoki(text);
    }
}

/// Files as GetConfig writes them, and as they are written by hand.
pub(crate) fn chrystoki_seeds() -> Vec<Vec<u8>> {
    let client = "LunaSA Client = {\n   ReceiveTimeout = 20000;\n   ClientPrivKeyFile = /k/appKey.pem;\n   \
                  ClientCertFile = /k/app.pem;\n   ServerCAFile = /k/CAFile.pem;\n   NetClient = 1;\n   \
                  ServerName00 = 10.0.0.10;\n   ServerPort00 = 1792;\n   ServerHtl00 = 0;\n}\n";
    let groups = "VirtualToken = {\n   VirtualToken00Label = g;\n   VirtualToken00SN = 0123456789;\n   \
                  VirtualToken00Members = 157826011, 157714012;\n}\nHASynchronize = {\n   g = 1;\n}\n\
                  HAConfiguration = {\n   reconnAtt = -1;\n   HAOnly = 1;\n}\n";
    vec![
        format!("Chrystoki2 = {{\n   LibUNIX = /usr/lib/libCryptoki2.so;\n}}\n\n{client}{groups}").into_bytes(),
        client.replace(" = ", "=").replace("   ", "\t").into_bytes(),
        b"# by hand\nX Y = {\n a = b; // why\n};\n".to_vec(),
    ]
}

/// A file of certificates or keys.
pub(crate) fn pem(data: &[u8]) {
    hsmd_pkcs11::fuzzing::pem(data);
}

/// Blocks of what a block may hold.
pub(crate) fn pem_seeds() -> Vec<Vec<u8>> {
    vec![
        b"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n".to_vec(),
        b"text\n-----BEGIN EC PRIVATE KEY-----\r\nMHcCAQEEIA==\r\n-----END EC PRIVATE KEY-----\r\n".to_vec(),
    ]
}

/// The daemon's file: what is good can be written and is read back.
pub(crate) fn daemon(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = toml::from_str::<Config>(text) else {
        return;
    };
    match config.check() {
        Ok(()) => {
            let again = toml::from_str::<Config>(&config.to_toml());
            assert_eq!(again.as_ref(), Ok(&config), "a configuration reads back");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without a word"),
    }
}

/// The file with every key.
pub(crate) fn daemon_seeds() -> Vec<Vec<u8>> {
    vec![
        Config::default().to_toml().into_bytes(),
        b"[pin]\ntries = 10\n".to_vec(),
    ]
}
