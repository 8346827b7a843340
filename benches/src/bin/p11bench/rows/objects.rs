//! Rows about objects: searches, attributes, keys that are made.

use cryptoki_sys::*;
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Attribute, Mechanism, Template, bytes, flag, number};

use super::keys::{self, P256};
use super::{Bed, Call};
use crate::fill;

/// The call of a row about objects.
pub(super) fn prepare<'a>(row: &str, bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    match row {
        "get-attribute" => attribute(bed, vec![keys::of(bed, "p256", CKO_PRIVATE_KEY)?]),
        "get-attribute-10000" => attribute(bed, filling(bed)?),
        "find-10" | "find-10000" | "find-100000" => find(bed),
        "keygen-aes-session" => Ok(keygen(bed, false)),
        "keygen-aes-token" => Ok(keygen(bed, true)),
        "keygen-p256-session" => Ok(pair(bed, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, P256), false)),
        "keygen-p256-token" => Ok(pair(bed, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, P256), true)),
        "keygen-rsa2048-session" => {
            let bits = number(CKA_MODULUS_BITS, 2048);
            Ok(pair(bed, CKM_RSA_PKCS_KEY_PAIR_GEN, bits, false))
        }
        "create-aes-token" => Ok(create(bed)),
        _ => Err(Rv(CKR_FUNCTION_NOT_SUPPORTED)),
    }
}

/// The objects that fill the token, each thread's in an order of its own.
fn filling(bed: &Bed<'_>) -> Result<Vec<CK_OBJECT_HANDLE>, Rv> {
    let wanted = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)];
    let mut objects = bed.module.find(bed.session, &wanted)?;
    if objects.len() < 2 {
        return Err(Rv(CKR_OBJECT_HANDLE_INVALID));
    }
    let middle = bed.number * 997 % objects.len();
    objects.rotate_left(middle);
    Ok(objects)
}

/// Label, id and key type of one object after the other.
fn attribute<'a>(bed: &'a Bed<'a>, objects: Vec<CK_OBJECT_HANDLE>) -> Result<Call<'a>, Rv> {
    let kinds = [CKA_LABEL, CKA_ID, CKA_KEY_TYPE];
    let lengths = [64, 64, 8];
    let library = &bed.module.library;
    let get = library.function("C_GetAttributeValue");
    let mut next = (0..objects.len()).cycle();
    // Made anew for each object: a call shrinks the room to the value's length.
    let mut template = Template::room(&kinds, &lengths);
    Ok(Box::new(move || {
        if objects.len() > 1 {
            template = Template::room(&kinds, &lengths);
        }
        let object = objects[next.next().unwrap_or_default()];
        let words = [
            bed.session as usize,
            object as usize,
            template.address(),
            template.count(),
        ];
        Rv::check(library.call_function(get, &words))
    }))
}

/// Anything but one hit is an error.
fn find<'a>(bed: &'a Bed<'a>) -> Result<Call<'a>, Rv> {
    let wanted = keys::wanted("p256", CKO_PRIVATE_KEY);
    Ok(Box::new(move || match bed.module.find(bed.session, &wanted)?.len() {
        1 => Ok(()),
        _ => Err(Rv(CKR_OBJECT_HANDLE_INVALID)),
    }))
}

fn aes_template(token: bool) -> [Attribute; 3] {
    [
        number(CKA_VALUE_LEN, 32),
        flag(CKA_TOKEN, token),
        bytes(CKA_LABEL, fill::label(0)),
    ]
}

fn keygen<'a>(bed: &'a Bed<'a>, token: bool) -> Call<'a> {
    let template = aes_template(token);
    Box::new(move || {
        let key = bed
            .module
            .generate_key(bed.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)?;
        bed.module.destroy(bed.session, key)
    })
}

/// The keys are destroyed after the measurement: each call is one durable write.
fn create<'a>(bed: &'a Bed<'a>) -> Call<'a> {
    let template = aes_template(true);
    Box::new(move || {
        let key = bed
            .module
            .generate_key(bed.session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)?;
        if let Ok(mut made) = bed.made.lock() {
            made.push(key);
        }
        Ok(())
    })
}

fn pair<'a>(bed: &'a Bed<'a>, mechanism: CK_MECHANISM_TYPE, what: Attribute, token: bool) -> Call<'a> {
    let public = [what, flag(CKA_TOKEN, token)];
    let private = [flag(CKA_TOKEN, token)];
    Box::new(move || {
        let pair = bed
            .module
            .generate_key_pair(bed.session, &Mechanism::Plain(mechanism), &public, &private)?;
        bed.module.destroy(bed.session, pair.0)?;
        bed.module.destroy(bed.session, pair.1)
    })
}
