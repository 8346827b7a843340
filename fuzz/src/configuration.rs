//! Targets of the two configuration files. Both are TOML; who may write them is the administrator, so a find here is a
//! bad message rather than a hole.

use hsmd::config::Config;

/// Keys and values of a client file.
pub(crate) const CLIENT_WORDS: &[&str] = &[
    "socket = \"/run/x.sock\"\n",
    "deadline_ms = 5000\n",
    "deadline_ms = -1\n",
    "fork = \"fail\"\n",
    "service_user = \"root\"\n",
    "[[",
    "'''",
    "\"\"\"",
    "\\u{",
    "1979-05-27T07:32:00Z",
    "inf",
    "0x",
    "{a=",
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
