//! A good call of each function of the three lists: what succeeds on the stage when its operation is open.

use std::mem::size_of;

use cryptoki_sys::*;
use hsmd_tests::daemon::{PIN, SO_PIN};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Attribute, Mechanism, Template, bytes, flag, number};

use super::stage::{ALL, MADE, Stage, TEXT, cbc};

const BLANK_LABEL: &[u8; 32] = b"demo                            ";
/// Where in the output, in words, the parameter of a message lies.
const AT: usize = 1000;
/// Length of an IV of AES-GCM, in bytes.
const IV: usize = 12;

impl Stage {
    /// Calls a function as a good program would.
    pub(crate) fn good(&mut self, name: &str) -> Rv {
        let mechanism = self.mechanism(name);
        *self.length = 8192;
        let mut template = Template::new(&template_of(name));
        let mut second = Template::new(&[]);
        mechanism.with(|mechanism| {
            let words = self.words(name, mechanism, &mut template, &mut second);
            self.raw(name, &words)
        })
    }

    fn mechanism(&mut self, name: &str) -> Mechanism {
        match name {
            "C_EncryptInit" | "C_DecryptInit" => cbc(),
            "C_DigestInit" => Mechanism::Plain(CKM_SHA256),
            "C_SignRecoverInit" | "C_VerifyRecoverInit" => Mechanism::Plain(CKM_RSA_PKCS),
            "C_MessageEncryptInit" | "C_MessageDecryptInit" => Mechanism::Plain(CKM_AES_GCM),
            "C_GenerateKey" => Mechanism::Plain(CKM_AES_KEY_GEN),
            "C_GenerateKeyPair" => Mechanism::Plain(CKM_EC_KEY_PAIR_GEN),
            "C_WrapKey" | "C_UnwrapKey" => Mechanism::Plain(CKM_AES_KEY_WRAP),
            "C_WrapKeyAuthenticated" | "C_UnwrapKeyAuthenticated" => self.gcm_message(name),
            "C_EncapsulateKey" | "C_DecapsulateKey" => Mechanism::Plain(CKM_ML_KEM),
            "C_DeriveKey" => Mechanism::Ecdh {
                public: self.made["point"].clone(),
            },
            _ => Mechanism::Plain(CKM_SHA256_HMAC),
        }
    }

    fn words(&mut self, name: &str, m: usize, template: &mut Template, second: &mut Template) -> Vec<usize> {
        if let Some(words) = self.words_without_session(name) {
            return words;
        }
        let h = self.session as usize;
        let out = self.output.as_mut_ptr() as usize;
        let p = &raw mut *self.length as usize;
        let victim = self.victim as usize;
        let keys = self.keys;
        let text = (TEXT.as_ptr() as usize, TEXT.len());
        let of = |name: &str| (self.made[name].as_ptr() as usize, self.made[name].len());
        let (code, sealed, recoverable, wrapped) = (of("code"), of("sealed"), of("recoverable"), of("wrapped"));
        let pin = (PIN.as_ptr() as usize, PIN.len());
        match name {
            "C_InitPIN" => vec![h, pin.0, pin.1],
            "C_SetPIN" => vec![h, pin.0, pin.1, pin.0, pin.1],
            "C_GetSessionInfo" => vec![h, out],
            "C_SetOperationState" => vec![h, out, 64, 0, 0],
            "C_Login" => vec![h, CKU_USER as usize, pin.0, pin.1],
            "C_LoginUser" => vec![h, CKU_USER as usize, pin.0, pin.1, 0, 0],
            "C_CreateObject" => vec![h, template.address(), template.count(), out],
            "C_CopyObject" => vec![h, victim, template.address(), template.count(), out],
            "C_DestroyObject" => vec![h, victim],
            "C_GetObjectSize" => vec![h, victim, out],
            "C_GetAttributeValue" => {
                *template = Self::label_room();
                vec![h, victim, template.address(), 1]
            }
            "C_SetAttributeValue" => vec![h, victim, template.address(), template.count()],
            "C_FindObjectsInit" => vec![h, template.address(), template.count()],
            "C_FindObjects" => vec![h, out, 8, p],
            "C_EncryptInit" | "C_DecryptInit" | "C_MessageEncryptInit" | "C_MessageDecryptInit" => {
                vec![h, m, keys.aes as usize]
            }
            "C_SignInit" | "C_VerifyInit" | "C_MessageSignInit" | "C_MessageVerifyInit" => {
                vec![h, m, keys.hmac as usize]
            }
            "C_DigestInit" => vec![h, m],
            "C_SignRecoverInit" => vec![h, m, keys.recover as usize],
            "C_VerifyRecoverInit" => vec![h, m, keys.recover_public as usize],
            "C_Encrypt"
            | "C_EncryptUpdate"
            | "C_Digest"
            | "C_Sign"
            | "C_SignRecover"
            | "C_DigestEncryptUpdate"
            | "C_SignEncryptUpdate" => vec![h, text.0, text.1, out, p],
            "C_Decrypt" | "C_DecryptUpdate" | "C_DecryptDigestUpdate" | "C_DecryptVerifyUpdate" => {
                vec![h, sealed.0, sealed.1, out, p]
            }
            "C_EncryptFinal" | "C_DecryptFinal" | "C_DigestFinal" | "C_SignFinal" | "C_GetOperationState" => {
                vec![h, out, p]
            }
            "C_DigestUpdate"
            | "C_SignUpdate"
            | "C_VerifyUpdate"
            | "C_VerifySignature"
            | "C_VerifySignatureUpdate"
            | "C_SeedRandom" => vec![h, text.0, text.1],
            "C_DigestKey" => vec![h, keys.target as usize],
            "C_Verify" => vec![h, text.0, text.1, code.0, code.1],
            "C_VerifyFinal" => vec![h, code.0, code.1],
            "C_VerifyRecover" => vec![h, recoverable.0, recoverable.1, out, p],
            "C_GenerateKey" => vec![h, m, template.address(), template.count(), out],
            "C_GenerateKeyPair" => {
                let (public, private) = (template.address(), second.address());
                vec![h, m, public, template.count(), private, 0, out, out + 8]
            }
            "C_WrapKey" => vec![h, m, keys.wrapping as usize, keys.target as usize, out, p],
            "C_UnwrapKey" => {
                let (address, count) = (template.address(), template.count());
                vec![h, m, keys.wrapping as usize, wrapped.0, wrapped.1, address, count, out]
            }
            "C_DeriveKey" => vec![h, m, keys.curve as usize, template.address(), template.count(), out],
            "C_GenerateRandom" => vec![h, out, 32],
            _ => self.words_of_3(name, m, template),
        }
    }

    /// What needs no session.
    fn words_without_session(&mut self, name: &str) -> Option<Vec<usize>> {
        let s = self.slot as usize;
        let out = self.output.as_mut_ptr() as usize;
        let p = &raw mut *self.length as usize;
        Some(match name {
            "C_Initialize" | "C_Finalize" => vec![0],
            "C_GetInfo" | "C_GetFunctionList" => vec![out],
            "C_GetSlotList" => vec![1, out, p],
            "C_GetSlotInfo" | "C_GetTokenInfo" => vec![s, out],
            "C_GetMechanismList" => vec![s, out, p],
            "C_GetMechanismInfo" => vec![s, CKM_AES_GCM as usize, out],
            "C_InitToken" => vec![s, SO_PIN.as_ptr() as usize, SO_PIN.len(), BLANK_LABEL.as_ptr() as usize],
            "C_OpenSession" => vec![s, (CKF_SERIAL_SESSION | CKF_RW_SESSION) as usize, 0, 0, out],
            "C_CloseAllSessions" => vec![s],
            "C_WaitForSlotEvent" => vec![CKF_DONT_BLOCK as usize, out, 0],
            _ => return None,
        })
    }

    fn words_of_3(&mut self, name: &str, m: usize, template: &mut Template) -> Vec<usize> {
        let h = self.session as usize;
        let out = self.output.as_mut_ptr() as usize;
        let p = &raw mut *self.length as usize;
        let keys = self.keys;
        let (text, size) = (TEXT.as_ptr() as usize, TEXT.len());
        let (code, code_size) = (self.made["code"].as_ptr() as usize, self.made["code"].len());
        let sealed = self.made["message"].as_ptr() as usize;
        let (address, count) = (template.address(), template.count());
        let name_of = c"C_Sign".as_ptr() as usize;
        match name {
            "C_GetInterfaceList" => vec![out, p],
            "C_GetInterface" => vec![0, 0, out, 0],
            "C_SessionCancel" => vec![h, ALL as usize],
            "C_EncryptMessage" | "C_DecryptMessage" => {
                let (parameter, bytes) = self.gcm(name);
                let text = if name == "C_DecryptMessage" { sealed } else { text };
                vec![h, parameter, bytes, 0, 0, text, size, out, p]
            }
            "C_EncryptMessageBegin" | "C_DecryptMessageBegin" => {
                let (parameter, bytes) = self.gcm(name);
                vec![h, parameter, bytes, 0, 0]
            }
            "C_EncryptMessageNext" | "C_DecryptMessageNext" => {
                let (parameter, bytes) = self.gcm(name);
                let text = if name == "C_DecryptMessageNext" { sealed } else { text };
                vec![h, parameter, bytes, text, size, out, p, CKF_END_OF_MESSAGE as usize]
            }
            "C_SignMessage" | "C_SignMessageNext" => vec![h, 0, 0, text, size, out, p],
            "C_VerifyMessage" | "C_VerifyMessageNext" => vec![h, 0, 0, text, size, code, code_size],
            "C_SignMessageBegin" | "C_VerifyMessageBegin" => vec![h, 0, 0],
            "C_VerifySignatureInit" => vec![h, m, keys.hmac as usize, code, code_size],
            "C_EncapsulateKey" => {
                let made = &raw mut self.output[MADE] as usize;
                vec![h, m, keys.kem_public as usize, address, count, out, p, made]
            }
            "C_DecapsulateKey" => {
                let ciphertext = &self.made["ciphertext"];
                let (at, length) = (ciphertext.as_ptr() as usize, ciphertext.len());
                vec![h, m, keys.kem as usize, address, count, at, length, out]
            }
            "C_GetSessionValidationFlags" => vec![h, CKS_LAST_VALIDATION_OK as usize, out],
            "C_AsyncComplete" | "C_AsyncGetID" => vec![h, name_of, out],
            "C_AsyncJoin" => vec![h, name_of, 1, out, 64],
            "C_WrapKeyAuthenticated" => {
                vec![h, m, keys.wrapping as usize, keys.target as usize, 0, 0, out, p]
            }
            "C_UnwrapKeyAuthenticated" => {
                let (blob, length) = (
                    self.made["sealed key"].as_ptr() as usize,
                    self.made["sealed key"].len() - 16,
                );
                vec![h, m, keys.wrapping as usize, blob, length, address, count, 0, 0, out]
            }
            // One word, a session: the Final functions, C_CloseSession, C_Logout, the parallel ones.
            _ => vec![h],
        }
    }

    /// AES-GCM with a CK_GCM_MESSAGE_PARAMS.
    pub(crate) fn gcm_message(&mut self, name: &str) -> Mechanism {
        let (_, bytes) = self.gcm(name);
        let words = &self.output[AT..AT + bytes / size_of::<usize>()];
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Mechanism::Bytes(CKM_AES_GCM, bytes)
    }

    /// A CK_GCM_MESSAGE_PARAMS in the last words of the output: a random IV for a new message, IV and tag of the sealed one.
    fn gcm(&mut self, name: &str) -> (usize, usize) {
        let base = self.output.as_mut_ptr() as usize;
        let word = size_of::<usize>();
        let (iv, tag) = (AT + 6, AT + 8);
        let opens = name.contains("Decrypt") || name.contains("Unwrap");
        let generator = if opens { CKG_NO_GENERATE } else { CKG_GENERATE_RANDOM };
        let structure = [base + iv * word, IV, 0, generator as usize, base + tag * word, 128];
        self.output[AT..AT + 6].copy_from_slice(&structure);
        if opens {
            let (of, sealed) = if name.contains("Unwrap") {
                ("iv of key", &self.made["sealed key"])
            } else {
                ("iv", &self.made["message"])
            };
            let tail = &sealed[sealed.len() - 16..];
            for (at, bytes) in [(iv, &self.made[of][..]), (tag, tail)] {
                for (index, part) in bytes.chunks(word).enumerate() {
                    let mut whole = [0; size_of::<usize>()];
                    whole[..part.len()].copy_from_slice(part);
                    self.output[at + index] = usize::from_ne_bytes(whole);
                }
            }
        }
        (base + AT * word, 6 * word)
    }
}

fn template_of(name: &str) -> Vec<Attribute> {
    let secret = || vec![number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)];
    match name {
        "C_CreateObject" => vec![number(CKA_CLASS, CKO_DATA), bytes(CKA_VALUE, TEXT)],
        "C_CopyObject" | "C_SetAttributeValue" => vec![bytes(CKA_LABEL, "another")],
        "C_FindObjectsInit" => vec![bytes(CKA_LABEL, "aes")],
        "C_GenerateKey" => vec![number(CKA_VALUE_LEN, 16)],
        "C_GenerateKeyPair" => vec![bytes(CKA_EC_PARAMS, template::P256)],
        "C_UnwrapKey" | "C_UnwrapKeyAuthenticated" => secret(),
        "C_DeriveKey" | "C_EncapsulateKey" | "C_DecapsulateKey" => {
            let mut template = secret();
            template.extend([number(CKA_VALUE_LEN, 16), flag(CKA_EXTRACTABLE, false)]);
            template
        }
        _ => Vec::new(),
    }
}
