//! The snippets. `<name>` is filled in by `mod.rs`: module, token, serial, slot, key, token_uri, key_uri, key_uri_pin,
//! pin_file, folder, export.

/// A program and how it uses the token.
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// A test of ours runs it with the program itself.
    pub(super) tested: bool,
    /// Name and text.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Lines for a POSIX shell.
    pub(super) run: &'static [&'static str],
}

/// OpenSSL's engine of libp11.
const OPENSSL_CNF: &str = "\
openssl_conf = start
[start]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = <module>
init = 0
[req]
distinguished_name = name
[name]
";

const CERTIFICATE: &str = "OPENSSL_CONF='<folder>/openssl.cnf' openssl req -new -x509 -days 365 -subj /CN=localhost -engine pkcs11 \
                           -keyform engine -key '<key_uri_pin>' -out '<folder>/certificate.pem'";

const NGINX_CONF: &str = "\
worker_processes 2;
pid <folder>/nginx.pid;
error_log <folder>/error.log;
ssl_engine pkcs11;
env HSMD_CONFIG;
env OPENSSL_CONF;
events { }
http {
  access_log off;
  server {
    listen 8443 ssl;
    server_name localhost;
    ssl_certificate <folder>/certificate.pem;
    ssl_certificate_key \"engine:pkcs11:<key_uri_pin>\";
    location / { return 200 \"hello\\n\"; }
  }
}
";

const APACHE_CONF: &str = "\
SSLCryptoDevice pkcs11
Listen 8443
<VirtualHost *:8443>
  ServerName localhost
  SSLEngine on
  SSLCertificateFile <folder>/certificate.pem
  SSLCertificateKeyFile \"<key_uri_pin>\"
</VirtualHost>
";

const STUNNEL_CONF: &str = "\
engine = pkcs11
engineCtrl = MODULE_PATH:<module>
engineCtrl = INIT
[service]
accept = 8443
connect = 127.0.0.1:8080
engineId = pkcs11
cert = <folder>/certificate.pem
key = <key_uri_pin>
";

const JAVA_CFG: &str = "name = hsmd\nlibrary = <module>\nslot = <slot>\n";

const KEYTOOL_GENERATE: &str = "keytool -genkeypair -alias java -keyalg EC -groupname secp256r1 -dname CN=java -keystore NONE \
                                -storetype PKCS11 -storepass:file '<pin_file>' -providerClass sun.security.pkcs11.SunPKCS11 \
                                -providerArg '<folder>/hsmd.cfg'";

const KEYTOOL_LIST: &str = "keytool -list -keystore NONE -storetype PKCS11 -storepass:file '<pin_file>' \
                            -providerClass sun.security.pkcs11.SunPKCS11 -providerArg '<folder>/hsmd.cfg'";

const STRONGSWAN_CONF: &str = "\
libstrongswan {
  plugins {
    pkcs11 {
      modules {
        hsmd {
          path = <module>
        }
      }
    }
  }
}
";

const OPENDNSSEC_CONF: &str = "\
<Configuration>
  <RepositoryList>
    <Repository name=\"hsmd\">
      <Module><module></Module>
      <TokenLabel><token></TokenLabel>
      <PIN><!-- what <pin_file> holds --></PIN>
    </Repository>
  </RepositoryList>
</Configuration>
";

const KNOT_CONF: &str = "\
keystore:
  - id: hsmd
    backend: pkcs11
    config: \"<token_uri>;pin-source=<pin_file> <module>\"
policy:
  - id: hsmd
    keystore: hsmd
    algorithm: ecdsap256sha256
";

const PYTHON: &str = "\
import pkcs11

library = pkcs11.lib('<module>')
token = library.get_token(token_label='<token>')
with open('<pin_file>') as pin, token.open(user_pin=pin.read().strip()) as session:
    for key in session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}):
        print(key)
";

/// All of them.
pub(super) const TABLE: &[App] = &[
    App {
        name: "apache",
        about: "a TLS server whose key stays in the token",
        tested: false,
        files: &[("openssl.cnf", OPENSSL_CNF), ("hsmd.conf", APACHE_CONF)],
        run: &[
            "<export>",
            CERTIFICATE,
            "# include hsmd.conf, and start Apache with OPENSSL_CONF='<folder>/openssl.cnf'",
        ],
    },
    App {
        name: "curl",
        about: "a client certificate whose key stays in the token",
        tested: false,
        files: &[("openssl.cnf", OPENSSL_CNF)],
        run: &[
            "<export>",
            CERTIFICATE,
            "OPENSSL_CONF='<folder>/openssl.cnf' curl --engine pkcs11 --key-type ENG --key '<key_uri_pin>' \
             --cert '<folder>/certificate.pem' https://server.example",
        ],
    },
    App {
        name: "gnutls",
        about: "GnuTLS programs; p11tool lists what is there",
        tested: false,
        files: &[],
        run: &["<export>", "p11tool --provider '<module>' --list-all '<token_uri>'"],
    },
    App {
        name: "java",
        about: "SunPKCS11: keytool, jarsigner, key stores of servers",
        tested: true,
        files: &[("hsmd.cfg", JAVA_CFG)],
        run: &["<export>", KEYTOOL_GENERATE, KEYTOOL_LIST],
    },
    App {
        name: "knot",
        about: "DNSSEC keys of Knot DNS",
        tested: false,
        files: &[("keystore.conf", KNOT_CONF)],
        run: &[
            "<export>",
            "# include keystore.conf in knot.conf, and let knotd read <pin_file>",
        ],
    },
    App {
        name: "nginx",
        about: "a TLS server whose key stays in the token",
        tested: true,
        files: &[("openssl.cnf", OPENSSL_CNF), ("nginx.conf", NGINX_CONF)],
        run: &[
            "<export>",
            CERTIFICATE,
            "OPENSSL_CONF='<folder>/openssl.cnf' nginx -c '<folder>/nginx.conf' -e '<folder>/error.log'",
        ],
    },
    App {
        name: "nss",
        about: "NSS databases (Firefox, certutil)",
        tested: false,
        files: &[],
        run: &[
            "<export>",
            "modutil -force -dbdir sql:$HOME/.pki/nssdb -add hsmd -libfile '<module>'",
        ],
    },
    App {
        name: "opendnssec",
        about: "DNSSEC keys of OpenDNSSEC",
        tested: false,
        files: &[("conf.xml", OPENDNSSEC_CONF)],
        run: &[
            "<export>",
            "# put the PIN into <folder>/conf.xml, or leave the element out and log in first: ods-hsmutil -c ... login",
            "ods-hsmutil -c '<folder>/conf.xml' list",
        ],
    },
    App {
        name: "openssl",
        about: "requests, certificates and signatures by the engine of libp11",
        tested: true,
        files: &[("openssl.cnf", OPENSSL_CNF)],
        run: &[
            "<export>",
            CERTIFICATE,
            "echo text > '<folder>/message'",
            "OPENSSL_CONF='<folder>/openssl.cnf' openssl dgst -sha256 -engine pkcs11 -keyform engine -sign '<key_uri_pin>' \
             -out '<folder>/signature' '<folder>/message'",
            "openssl x509 -pubkey -noout -in '<folder>/certificate.pem' > '<folder>/public.pem'",
            "openssl dgst -sha256 -verify '<folder>/public.pem' -signature '<folder>/signature' '<folder>/message'",
        ],
    },
    App {
        name: "osslsigncode",
        about: "signatures of Windows programs",
        tested: false,
        files: &[],
        run: &[
            "<export>",
            "osslsigncode sign -pkcs11module '<module>' -key '<key_uri>' -certs certificate.pem -readpass '<pin_file>' \
             -in program.exe -out signed.exe",
        ],
    },
    App {
        name: "p11-kit",
        about: "every program that asks p11-kit",
        tested: true,
        files: &[("hsmd.module", "module: <module>\n")],
        run: &[
            "<export>",
            "# for all users: /usr/share/p11-kit/modules/hsmd.module",
            "mkdir -p ~/.config/pkcs11/modules && cp '<folder>/hsmd.module' ~/.config/pkcs11/modules/",
            "p11-kit list-modules",
        ],
    },
    App {
        name: "pkcs11-tool",
        about: "OpenSC's tool for everything",
        tested: true,
        files: &[],
        run: &[
            "<export>",
            "pkcs11-tool --module '<module>' --token-label '<token>' --login --pin \"$(cat '<pin_file>')\" --list-objects",
        ],
    },
    App {
        name: "python",
        about: "python-pkcs11",
        tested: false,
        files: &[("keys.py", PYTHON)],
        run: &["<export>", "python3 '<folder>/keys.py'"],
    },
    App {
        name: "ssh",
        about: "logins with a key of the token",
        tested: true,
        files: &[("ssh_config", "Host *\n  PKCS11Provider <module>\n")],
        run: &[
            "<export>",
            "ssh-keygen -D '<module>'",
            "# ssh -F '<folder>/ssh_config' user@host",
        ],
    },
    App {
        name: "strongswan",
        about: "IPsec with a key of the token",
        tested: false,
        files: &[("strongswan.conf", STRONGSWAN_CONF)],
        run: &[
            "<export>",
            "STRONGSWAN_CONF='<folder>/strongswan.conf' pki --keyid --keyid 01 --type priv",
        ],
    },
    App {
        name: "stunnel",
        about: "TLS in front of a service, with a key of the token",
        tested: false,
        files: &[("openssl.cnf", OPENSSL_CNF), ("stunnel.conf", STUNNEL_CONF)],
        run: &["<export>", CERTIFICATE, "stunnel '<folder>/stunnel.conf'"],
    },
];
