//! What the token says of itself and of its keys, through C: objects that it makes, the policy in its model, origin and latch,
//! templates in templates, what runs in the daemon. How each policy treats attacks is in `attacks`.

use std::process::Command;

use cryptoki_sys::*;
use hsmd_proto::ck::AttributeType;
use hsmd_proto::vendor::POLICY_FEATURE;
use hsmd_tests::daemon::{Daemon, LABEL, Options, PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, P256, Word, array, bytes, flag, number, words};

const ORIGIN: CK_ATTRIBUTE_TYPE = AttributeType::HSMD_ORIGIN.0;
const WRAPPING: CK_ATTRIBUTE_TYPE = AttributeType::HSMD_WRAPPING.0;
const POLICY: CK_ATTRIBUTE_TYPE = AttributeType::HSMD_POLICY.0;

struct Application {
    module: Module,
    session: Session,
}

impl Application {
    fn new(daemon: &Daemon) -> Self {
        Self::of(daemon.module())
    }

    fn of(module: Module) -> Self {
        module.initialize().expect("C_Initialize");
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        module.login(session, CKU_USER, PIN).expect("C_Login");
        Self { module, session }
    }

    fn aes(&self, template: &[Attribute]) -> Result<Object, Rv> {
        let template = [&[number(CKA_VALUE_LEN, 32)], template].concat();
        let generate = Mechanism::Plain(CKM_AES_KEY_GEN);
        self.module.generate_key(self.session, &generate, &template)
    }

    fn get(&self, object: Object, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, Rv> {
        self.module.get(self.session, object, kind)
    }

    fn find(&self, template: &[Attribute]) -> Vec<Object> {
        self.module.find(self.session, template).expect("C_FindObjects")
    }

    fn model(&self) -> String {
        let mut info = CK_TOKEN_INFO::default();
        let slot = self.module.slot_of(LABEL) as usize;
        let rv = self
            .module
            .library
            .call("C_GetTokenInfo", &[slot, &raw mut info as usize]);
        assert_eq!(rv, CKR_OK);
        String::from_utf8_lossy(&info.model).trim_end().to_owned()
    }
}

fn with_policy(policy: &str) -> Daemon {
    Daemon::start_with(Options {
        arguments: vec!["--policy".to_owned(), policy.to_owned()],
        ..Options::default()
    })
}

#[test]
fn the_token_tells_its_policy_and_what_it_can() {
    let models = [
        ("legacy", "hsmd dev legacy"),
        ("standard", "hsmd dev"),
        ("fips", "hsmd dev fips"),
    ];
    for (policy, model) in models {
        let daemon = with_policy(policy);
        let application = Application::new(&daemon);
        assert_eq!(application.model(), model);
        assert!(application.find(&[]).is_empty(), "nobody has put anything on it");
        let feature = [
            number(CKA_CLASS, CKO_HW_FEATURE),
            number(CKA_HW_FEATURE_TYPE, POLICY_FEATURE),
        ];
        let feature = application.find(&feature);
        assert_eq!(application.get(feature[0], POLICY), Ok(policy.as_bytes().to_vec()));
        let slot = application.module.slot_of(LABEL);
        let mut offered = application.module.mechanisms(slot).expect("C_GetMechanismList");
        offered.sort_unstable();
        let objects = application.find(&[number(CKA_CLASS, CKO_MECHANISM)]);
        let mut told: Vec<CK_ULONG> = objects
            .iter()
            .map(|object| application.get(*object, CKA_MECHANISM_TYPE).expect("a mechanism"))
            .map(|value| CK_ULONG::from_ne_bytes(value.try_into().expect("a CK_ULONG")))
            .collect();
        told.sort_unstable();
        assert_eq!(told, offered, "{policy}");
        self_tests_passed(&daemon);
        let profiles = application.find(&[number(CKA_CLASS, CKO_PROFILE)]);
        let first = application.get(profiles[0], CKA_PROFILE_ID);
        assert_eq!(first, Ok(CKP_BASELINE_PROVIDER.to_ne_bytes().to_vec()));
        let destroyed = application.module.destroy(application.session, profiles[0]);
        assert_eq!(destroyed, Err(Rv(CKR_ACTION_PROHIBITED)));
    }
}

/// What `hsmctl status` says of the power-on self-tests.
fn self_tests_passed(daemon: &Daemon) {
    let run = Command::new(daemon.variable("HSMCTL"))
        .args(["--endpoint", daemon.variable("HSMD_ENDPOINT"), "-o", "json", "status"])
        .output()
        .expect("hsmctl");
    let status: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let tests = status["self_tests"].as_object().expect("self-tests");
    assert!(
        tests.len() > 15 && tests.values().all(|passed| passed == true),
        "{tests:?}"
    );
}

#[test]
fn origin_and_latch_of_token_and_session_keys_are_read() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let number_of = |object, kind| application.get(object, kind).expect("a vendor attribute")[0];
    for on_token in [true, false] {
        let flags = [flag(CKA_TOKEN, on_token), flag(CKA_WRAP, true)];
        let key = application.aes(&flags).expect("a key");
        assert_eq!((number_of(key, ORIGIN), number_of(key, WRAPPING)), (0, 0));
        let prize = application.aes(&[flag(CKA_EXTRACTABLE, true)]).expect("a key");
        application
            .module
            .wrap(application.session, &Mechanism::Plain(CKM_AES_KEY_WRAP), key, prize)
            .expect("C_WrapKey");
        assert_eq!((number_of(key, ORIGIN), number_of(key, WRAPPING)), (0, 1));
        let read = [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
        let readable = application.aes(&read).expect("a key");
        assert_eq!(number_of(readable, ORIGIN), 2);
    }
    // Latched keys are found by it, as far as they are on the token.
    assert_eq!(application.find(&[flag(WRAPPING, true)]).len(), 1);
}

/// A template in a template, and one in that; no deeper.
#[test]
fn templates_nest_twice() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let innermost = [flag(CKA_EXTRACTABLE, false)];
    let inner = [flag(CKA_SENSITIVE, true), array(CKA_UNWRAP_TEMPLATE, &innermost)];
    let key = application
        .aes(&[flag(CKA_UNWRAP, true), array(CKA_UNWRAP_TEMPLATE, &inner)])
        .expect("a key with a template in its template");
    // Two entries of 24 bytes; the second one has an entry of its own.
    let size = size_of::<CK_ATTRIBUTE>();
    assert_eq!(
        application.get_array(key, &[1, size]),
        [(CKA_SENSITIVE, 1), (CKA_UNWRAP_TEMPLATE, size)]
    );
    let third = [array(CKA_UNWRAP_TEMPLATE, &inner)];
    let deeper = application.aes(&[array(CKA_UNWRAP_TEMPLATE, &third)]);
    assert_eq!(deeper, Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)));
    // What is imposed is imposed on what is unwrapped, its own template included.
    let encrypts = application.aes(&[
        flag(CKA_UNWRAP, true),
        flag(CKA_ENCRYPT, true),
        array(CKA_UNWRAP_TEMPLATE, &inner),
    ]);
    let encrypts = encrypts.expect("a key");
    let kw = Mechanism::Plain(CKM_AES_KEY_WRAP);
    let blob = application
        .module
        .encrypt(application.session, &kw, encrypts, &[7; 32])
        .expect("C_Encrypt");
    let secret = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)];
    let back = application
        .module
        .unwrap(application.session, &kw, encrypts, &blob, &secret)
        .expect("C_UnwrapKey");
    assert_eq!(application.get_array(back, &[1]), [(CKA_EXTRACTABLE, 1)]);
}

impl Application {
    /// CKA_UNWRAP_TEMPLATE with room of these lengths for its entries: their types and the lengths that came back.
    fn get_array(&self, object: Object, lengths: &[usize]) -> Vec<(CK_ATTRIBUTE_TYPE, usize)> {
        let mut rooms: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
        let mut entries: Vec<usize> = rooms
            .iter_mut()
            .flat_map(|room| [0, room.as_mut_ptr() as usize, room.len()])
            .collect();
        // An entry that is an array itself has room for one more entry, whose value nobody wants.
        let mut place = [CK_ATTRIBUTE {
            type_: CKA_UNWRAP_TEMPLATE,
            pValue: entries.as_mut_ptr().cast(),
            ulValueLen: (entries.len() * size_of::<usize>()) as CK_ULONG,
        }];
        let words = [self.session as usize, object as usize, place.as_mut_ptr() as usize, 1];
        let rv = self.module.library.call("C_GetAttributeValue", &words);
        assert_eq!(Rv::check(rv), Ok(()));
        entries
            .chunks(3)
            .map(|entry| (entry[0] as CK_ULONG, entry[2]))
            .collect()
    }
}

/// INV-4: an IV of an earlier run is not taken, and the session lives on.
#[test]
fn an_iv_of_an_earlier_run_ends_the_operation_and_nothing_else() {
    let mut daemon = with_policy("strict");
    let application = Application::new(&daemon);
    let key = application
        .aes(&[flag(CKA_TOKEN, true), flag(CKA_ENCRYPT, true)])
        .expect("a key");
    let begin = || {
        let iv = Word::Bytes(&[0; 12]);
        let fields = [
            iv,
            Word::Number(12),
            Word::Number(96),
            Word::Number(0),
            Word::Number(0),
            Word::Number(128),
        ];
        let gcm = words(CKM_AES_GCM, &fields);
        application
            .module
            .start("C_EncryptInit", application.session, &gcm, key)
    };
    begin().expect("C_EncryptInit");
    daemon.restart();
    let refused = application.module.finish("C_Encrypt", application.session, b"text");
    assert_eq!(refused, Err(Rv(CKR_FUNCTION_FAILED)));
    begin().expect("C_EncryptInit");
    let sealed = application.module.finish("C_Encrypt", application.session, b"text");
    assert_eq!(sealed.map(|sealed| sealed.len()), Ok(20));
}

/// What a policy leaves to the application goes on without a daemon; under `strict` nothing does.
#[test]
fn under_strict_random_numbers_and_public_keys_are_the_daemons() {
    for (policy, local) in [("standard", true), ("strict", false)] {
        let mut daemon = with_policy(policy);
        let (folder, copy) = Module::copy(&daemon.module_path(), &daemon.client_file(), daemon.folder());
        let file = folder.join("libhsmd_pkcs11.toml");
        let text = std::fs::read_to_string(&file).expect("the client file");
        let text = text.replace("deadline_ms = 5000", "deadline_ms = 300");
        std::fs::write(&file, text).expect("the client file");
        let application = Application::of(Module::load(&copy));
        let (module, session) = (&application.module, application.session);
        let (public, private) = module
            .generate_key_pair(
                session,
                &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
                &[bytes(CKA_EC_PARAMS, P256), flag(CKA_VERIFY, true)],
                &[flag(CKA_SIGN, true)],
            )
            .expect("C_GenerateKeyPair");
        let ecdsa = Mechanism::Plain(CKM_ECDSA);
        let signature = module.sign(session, &ecdsa, private, &[1; 32]).expect("C_Sign");
        let verify = || module.verify(session, &ecdsa, public, &[1; 32], &signature);
        let random = || module.random(session, 16).map(drop);
        assert_eq!((verify(), random()), (Ok(()), Ok(())));
        daemon.kill9();
        let expected = if local { Ok(()) } else { Err(Rv(CKR_DEVICE_ERROR)) };
        assert_eq!((verify(), random()), (expected, expected), "{policy}");
    }
}
