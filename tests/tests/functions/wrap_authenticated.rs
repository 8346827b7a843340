//! C_WrapKeyAuthenticated and C_UnwrapKeyAuthenticated with AES-GCM (PKCS#11 3.2, 5.18.6 and 5.18.7): keys that are not sensitive;
//! what DESIGN 8 keeps to AES-KW, AES-KWP and RSA-OAEP stays there.

use super::*;

const AAD: &[u8] = b"what goes with the key";

/// IV and tag of one wrap.
struct Beside {
    iv: [u8; 12],
    tag: [u8; 16],
}

impl Beside {
    fn parameter(&mut self, generator: CK_GENERATOR_FUNCTION) -> CK_GCM_MESSAGE_PARAMS {
        CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 0,
            ivGenerator: generator,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: 128,
        }
    }
}

/// Calls with a CK_MECHANISM of AES-GCM over the parameter.
fn with_gcm<T>(parameter: &CK_GCM_MESSAGE_PARAMS, call: impl FnOnce(usize) -> T) -> T {
    let mechanism = CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw const *parameter).cast_mut().cast(),
        ulParameterLen: size_of_val(parameter) as CK_ULONG,
    };
    call(&raw const mechanism as usize)
}

impl Application {
    fn wrap_authenticated(
        &self,
        beside: &mut Beside,
        generator: CK_GENERATOR_FUNCTION,
        (wrapping, key): (Object, Object),
        room: Option<usize>,
    ) -> (Result<(), Rv>, Vec<u8>) {
        let parameter = beside.parameter(generator);
        let mut out = vec![0_u8; room.unwrap_or(0)];
        let mut length = out.len() as CK_ULONG;
        let at = if room.is_some() { out.as_mut_ptr() as usize } else { 0 };
        let result = with_gcm(&parameter, |mechanism| {
            let words = [
                self.session as usize,
                mechanism,
                wrapping as usize,
                key as usize,
                AAD.as_ptr() as usize,
                AAD.len(),
                at,
                &raw mut length as usize,
            ];
            newer!(self, C_WrapKeyAuthenticated, &words)
        });
        out.resize(length as usize, 0);
        (result, out)
    }

    fn unwrap_authenticated(
        &self,
        beside: &mut Beside,
        unwrapping: Object,
        (blob, aad): (&[u8], &[u8]),
        template: &[Attribute],
    ) -> Result<Object, Rv> {
        let parameter = beside.parameter(CKG_NO_GENERATE);
        let mut template = template::Template::new(template);
        let mut made: CK_OBJECT_HANDLE = 0;
        with_gcm(&parameter, |mechanism| {
            let words = [
                self.session as usize,
                mechanism,
                unwrapping as usize,
                blob.as_ptr() as usize,
                blob.len(),
                template.address(),
                template.count(),
                aad.as_ptr() as usize,
                aad.len(),
                &raw mut made as usize,
            ];
            newer!(self, C_UnwrapKeyAuthenticated, &words)
        })?;
        Ok(made)
    }
}

const AES: fn() -> Vec<Attribute> = || vec![number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)];

fn readable() -> [Attribute; 2] {
    [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)]
}

#[test]
fn a_key_that_is_not_sensitive_goes_and_comes_back() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let wrapping = application.aes(&[flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)]);
    let key = application.aes(&readable());
    let mut beside = Beside {
        iv: [0; 12],
        tag: [0; 16],
    };
    let keys = (wrapping, key);
    let (asked, length) = application.wrap_authenticated(&mut beside, CKG_GENERATE, keys, None);
    assert_eq!((asked, length.len()), (Ok(()), 32), "the tag is not part of it");
    let (small, _) = application.wrap_authenticated(&mut beside, CKG_GENERATE, keys, Some(31));
    assert_eq!(small, Err(Rv(CKR_BUFFER_TOO_SMALL)));
    assert_eq!((beside.iv, beside.tag), ([0; 12], [0; 16]), "nothing was given yet");
    let (wrapped, blob) = application.wrap_authenticated(&mut beside, CKG_GENERATE, keys, Some(64));
    assert_eq!((wrapped, blob.len()), (Ok(()), 32));
    assert_ne!(beside.iv, [0; 12], "the module has made one");

    let template = [AES(), readable().to_vec()].concat();
    let made = application.unwrap_authenticated(&mut beside, wrapping, (&blob, AAD), &template);
    let made = made.expect("C_UnwrapKeyAuthenticated");
    let value = |key| module.get(session, key, CKA_VALUE).expect("its value");
    assert_eq!(value(made), value(key));
    // It is AES-GCM as C_Encrypt has it: the other functions read what this one wrote.
    let gcm = Mechanism::Gcm {
        iv: beside.iv.to_vec(),
        aad: AAD.to_vec(),
        tag_bits: 128,
    };
    let sealed = [&blob[..], &beside.tag].concat();
    assert_eq!(module.decrypt(session, &gcm, wrapping, &sealed), Ok(value(key)));

    // Whatever is changed, one code, and no object.
    let before = module.find(session, &[]).expect("C_FindObjects").len();
    let mut other = blob.clone();
    other[7] ^= 1;
    for (blob, aad) in [(&other[..], AAD), (&blob[..], &AAD[1..]), (&blob[..31], AAD)] {
        let refused = application.unwrap_authenticated(&mut beside, wrapping, (blob, aad), &template);
        assert_eq!(refused, Err(Rv(CKR_WRAPPED_KEY_INVALID)));
    }
    beside.tag[3] ^= 1;
    let refused = application.unwrap_authenticated(&mut beside, wrapping, (&blob, AAD), &template);
    assert_eq!(refused, Err(Rv(CKR_WRAPPED_KEY_INVALID)));
    let none = application.unwrap_authenticated(&mut beside, wrapping, (&[], AAD), &template);
    assert_eq!(none, Err(Rv(CKR_WRAPPED_KEY_LEN_RANGE)));
    assert_eq!(module.find(session, &[]).expect("C_FindObjects").len(), before);
}

/// DESIGN 8, INV-1.
#[test]
fn a_sensitive_key_is_not_wrapped_so_nor_by_a_key_that_wraps_sensitive_ones() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let (module, session) = (&application.module, application.session);
    let roles = [flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)];
    let (wrapping, latched) = (application.aes(&roles), application.aes(&roles));
    let prize = application.aes(&[flag(CKA_EXTRACTABLE, true)]);
    let key = application.aes(&readable());
    let mut beside = Beside {
        iv: [5; 12],
        tag: [0; 16],
    };
    let mut wrap = |wrapping, key| {
        let (result, _) = application.wrap_authenticated(&mut beside, CKG_NO_GENERATE, (wrapping, key), Some(64));
        result
    };
    assert_eq!(wrap(wrapping, prize), Err(Rv(CKR_KEY_NOT_WRAPPABLE)));
    assert_eq!(wrap(wrapping, application.aes(&[])), Err(Rv(CKR_KEY_UNEXTRACTABLE)));
    assert_eq!(wrap(key, key), Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)), "CKA_WRAP");
    assert_eq!(wrap(wrapping, key), Ok(()));
    // The same again is the same; another key under the IV would give both away.
    assert_eq!(wrap(wrapping, key), Ok(()));
    let other = application.aes(&readable());
    assert_eq!(wrap(wrapping, other), Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    let kw = Mechanism::Plain(CKM_AES_KEY_WRAP);
    module.wrap(session, &kw, latched, prize).expect("C_WrapKey");
    assert_eq!(wrap(latched, key), Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
    // What KW has wrapped does not come out by GCM's way either.
    let unwrapped = application.unwrap_authenticated(&mut beside, latched, (&[1; 40], AAD), &AES());
    assert_eq!(unwrapped, Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED)));
}

/// DESIGN 8: under `strict` and `fips` the IV is the daemon's, which is told where the structure has room for it.
#[test]
fn under_strict_and_fips_the_daemon_makes_the_iv() {
    for policy in ["strict", "fips"] {
        let daemon = Daemon::start_with(hsmd_tests::daemon::Options {
            arguments: vec!["--policy".to_owned(), policy.to_owned()],
            ..hsmd_tests::daemon::Options::default()
        });
        let application = Application::new(&daemon);
        let (module, session) = (&application.module, application.session);
        let wrapping = application.aes(&[flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)]);
        let (key, prize) = (
            application.aes(&readable()),
            application.aes(&[flag(CKA_EXTRACTABLE, true)]),
        );
        let mut beside = Beside {
            iv: [0; 12],
            tag: [0; 16],
        };
        for generator in [CKG_NO_GENERATE, CKG_GENERATE_COUNTER] {
            let (refused, _) = application.wrap_authenticated(&mut beside, generator, (wrapping, key), Some(64));
            assert_eq!(refused, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
        }
        let (refused, _) = application.wrap_authenticated(&mut beside, CKG_GENERATE, (wrapping, prize), Some(64));
        assert_eq!(refused, Err(Rv(CKR_KEY_NOT_WRAPPABLE)));
        let (wrapped, blob) = application.wrap_authenticated(&mut beside, CKG_GENERATE, (wrapping, key), Some(64));
        assert_eq!((wrapped, blob.len()), (Ok(()), 32));
        assert_ne!(beside.iv, [0; 12]);
        let template = [AES(), readable().to_vec()].concat();
        let made = application.unwrap_authenticated(&mut beside, wrapping, (&blob, AAD), &template);
        let value = |key| module.get(session, key, CKA_VALUE).expect("its value");
        assert_eq!(value(made.expect("C_UnwrapKeyAuthenticated")), value(key));
        zeros_are_replaced(&application, wrapping, key);
        read_only_memory_is_left_alone(&application, wrapping, key);
    }
}

/// C_WrapKey with CK_GCM_PARAMS.
fn zeros_are_replaced(application: &Application, wrapping: Object, key: Object) {
    let (module, session) = (&application.module, application.session);
    let gcm = |iv: &[u8]| Mechanism::Gcm {
        iv: iv.to_vec(),
        aad: Vec::new(),
        tag_bits: 128,
    };
    let given = module.wrap(session, &gcm(&[5; 12]), wrapping, key);
    assert_eq!(given, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    let iv = [0_u8; 12];
    let place = template::words(
        CKM_AES_GCM,
        &[iv.as_ptr() as usize, 12, 96, 0, 0, 128].map(template::Word::Number),
    );
    let blob = module.wrap(session, &place, wrapping, key).expect("C_WrapKey");
    let iv = std::hint::black_box(&iv);
    assert_ne!(iv, &[0; 12]);
    let all = [AES(), readable().to_vec()].concat();
    let made = module
        .unwrap(session, &gcm(iv), wrapping, &blob, &all)
        .expect("C_UnwrapKey");
    let value = |key| module.get(session, key, CKA_VALUE).expect("its value");
    assert_eq!(value(made), value(key));
}

/// INV-9: an application that shows a constant goes on living (docs/decisions/0013).
fn read_only_memory_is_left_alone(application: &Application, wrapping: Object, key: Object) {
    static ZEROS: [u8; 4096] = [0; 4096];
    let (module, session) = (&application.module, application.session);
    let place = template::words(
        CKM_AES_GCM,
        &[ZEROS.as_ptr() as usize, 12, 96, 0, 0, 128].map(template::Word::Number),
    );
    let wrapped = module.wrap(session, &place, wrapping, key);
    assert_eq!(wrapped, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    let encrypts = application.aes(&[flag(CKA_ENCRYPT, true)]);
    let begun = module.start("C_EncryptInit", session, &place, encrypts);
    assert_eq!(begun, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    assert!(ZEROS.iter().all(|byte| *byte == 0));
}

#[test]
fn other_mechanisms_and_parameters_are_refused_by_name() {
    let daemon = Daemon::start();
    let application = Application::new(&daemon);
    let wrapping = application.aes(&[flag(CKA_WRAP, true)]);
    let key = application.aes(&readable());
    let mut beside = Beside {
        iv: [0; 12],
        tag: [0; 16],
    };
    for generator in [CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR, 77] {
        let (refused, _) = application.wrap_authenticated(&mut beside, generator, (wrapping, key), Some(64));
        assert_eq!(refused, Err(Rv(CKR_MECHANISM_PARAM_INVALID)));
    }
    let mut length: CK_ULONG = 64;
    let mut out = [0_u8; 64];
    let mut call = |mechanism: usize, wrapping: Object, key: Object| {
        let words = [
            application.session as usize,
            mechanism,
            wrapping as usize,
            key as usize,
            0,
            0,
            out.as_mut_ptr() as usize,
            &raw mut length as usize,
        ];
        newer!(application, C_WrapKeyAuthenticated, &words)
    };
    let kw = Mechanism::Plain(CKM_AES_KEY_WRAP);
    assert_eq!(kw.with(|m| call(m, wrapping, key)), Err(Rv(CKR_MECHANISM_INVALID)));
    let bare = Mechanism::Plain(CKM_AES_GCM);
    assert_eq!(
        bare.with(|m| call(m, wrapping, key)),
        Err(Rv(CKR_MECHANISM_PARAM_INVALID))
    );
    assert_eq!(call(0, wrapping, key), Err(Rv(CKR_ARGUMENTS_BAD)));
    let parameter = beside.parameter(CKG_GENERATE);
    let no_wrapping = with_gcm(&parameter, |m| call(m, 9, key));
    assert_eq!(no_wrapping, Err(Rv(CKR_WRAPPING_KEY_HANDLE_INVALID)));
    let no_key = with_gcm(&parameter, |m| call(m, wrapping, 9));
    assert_eq!(no_key, Err(Rv(CKR_KEY_HANDLE_INVALID)));
}
