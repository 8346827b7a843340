//! A door for the fuzz targets of the XKS proxy and its client (docs/fuzzing.md). Not part of the crate's interface.

use super::proxy::fuzzing as proxy;
use super::{client, wire};
use serde_json::json;

/// Reads bytes as a path, a signature and a body that came to the proxy: the first byte chooses which.
pub fn requests(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 6 {
        0 => proxy::path(&String::from_utf8_lossy(rest)),
        1 => proxy::authorization(rest),
        other => proxy::body(other - 2, rest),
    }
}

/// Good requests.
#[must_use]
pub fn request_seeds() -> Vec<Vec<u8>> {
    let who = json!({"awsPrincipalArn": "p", "kmsKeyArn": "k", "kmsOperation": "o", "kmsRequestId": "r", "kmsViaService": "s"});
    let iv = wire::text(&[4; 12]);
    let tag = wire::text(&[5; 16]);
    let bodies = [
        json!({"requestMetadata": who}),
        json!({"requestMetadata": who}),
        json!({"requestMetadata": who, "plaintext": "AQID", "encryptionAlgorithm": "AES_GCM",
               "additionalAuthenticatedData": "BAU=", "ciphertextDataIntegrityValueAlgorithm": "SHA_256"}),
        json!({"requestMetadata": who, "ciphertext": "AQID", "encryptionAlgorithm": "AES_GCM", "initializationVector": *iv,
               "authenticationTag": *tag, "ciphertextMetadata": "AQ==", "additionalAuthenticatedData": "BAU="}),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (choice, body) in (2_u8..).zip(bodies) {
        seeds.push([vec![choice], body.to_string().into_bytes()].concat());
    }
    for path in [
        "/health",
        "/keys/a.b-c_d/metadata",
        "/keys/k/encrypt",
        "/keys/k/decrypt",
    ] {
        seeds.push([&[0], path.as_bytes()].concat());
    }
    let signature = "AWS4-HMAC-SHA256 Credential=ABCDEFGHIJKLMNOPQR27/20300131/r/kms-xks-proxy/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature=44ad86aed6f51b68323588dbc1886e0e";
    seeds.push([&[1], signature.as_bytes()].concat());
    seeds
}

/// Reads bytes as what a proxy answered: the first byte chooses to what.
pub fn replies(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 5 {
        0 => {
            let health = client::health(rest);
            assert!(health.is_err() || health.is_ok_and(|health| health.is_good()));
        }
        1 => drop(client::metadata(rest)),
        2 => {
            // Lengths are those of the rules whatever was said.
            if let Ok(sealed) = client::sealed(rest, 3, b"aad") {
                assert_eq!((sealed.ciphertext.len(), sealed.tag.len()), (3, wire::TAG));
                assert!(wire::VECTORS.contains(&sealed.iv.len()));
                assert!(
                    sealed
                        .metadata
                        .is_none_or(|metadata| metadata.len() <= wire::MOST_METADATA)
                );
            }
        }
        3 => {
            if let Ok(plaintext) = client::opened(rest, 3) {
                assert_eq!(plaintext.len(), 3);
            }
        }
        _ => {
            let _ = client::refusal(rest);
        }
    }
}

/// Good answers.
#[must_use]
pub fn reply_seeds() -> Vec<Vec<u8>> {
    let value = wire::integrity(b"aad", &[6], &[4; 12], &[1, 2, 3], &[5; 16]);
    let member = json!({"id": "1", "model": "m", "healthStatus": "ACTIVE"});
    let answers = [
        json!({"xksProxyFleetSize": 1, "xksProxyVendor": "v", "xksProxyModel": "m", "ekmVendor": "e", "ekmFleetDetails": [member]}),
        json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}),
        json!({"ciphertext": "AQID", "initializationVector": *wire::text(&[4; 12]), "authenticationTag": *wire::text(&[5; 16]),
               "ciphertextMetadata": "Bg==", "ciphertextDataIntegrityValue": *wire::text(&value)}),
        json!({"plaintext": "AQID"}),
        json!({"errorName": "ThrottlingException", "errorMessage": "m"}),
    ];
    let numbered = (0_u8..).zip(answers);
    numbered
        .map(|(choice, answer)| [vec![choice], answer.to_string().into_bytes()].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_inputs_pass() {
        request_seeds().iter().for_each(|seed| requests(seed));
        reply_seeds().iter().for_each(|seed| replies(seed));
    }
}
