//! How a host becomes known: a one-time code, then a key for ever.
//!
//! Pure. A code is `<handle>-<secret>`: the handle finds the row, so that
//! wrong guesses are counted against one code and cannot end the others. The
//! hub keeps the code's hash and the host's public key: nothing that lets
//! anybody pass for the host.

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{hello_message, join_message};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

/// How long a code is good: 10 minutes.
pub const CODE_MS: u64 = 10 * 60 * 1_000;
/// Wrong tries that end a code.
pub const TRIES_MAX: u64 = 5;
/// Codes that may be open at once.
pub const OPEN_CODES_MAX: usize = 20;

/// Letters of a code: no vowels and nothing that looks like something else.
const LETTERS: &[u8; 28] = b"23456789BCDFGHJKMNPQRSTVWXYZ";

/// A code from 16 random bytes: a handle of 4 letters and a secret of 12,
/// log2(28^12) = 57 bits against 5 guesses.
#[must_use]
pub fn code(random: [u8; 16]) -> String {
    let letters: String =
        random.iter().filter_map(|b| LETTERS.get(usize::from(*b) % LETTERS.len())).map(|b| char::from(*b)).collect();
    let (handle, secret) = letters.split_at(4);
    format!("{handle}-{secret}")
}

/// Splits a typed code into handle and canonical whole; `None` when it cannot be one.
#[must_use]
pub fn split(typed: &str) -> Option<(String, String)> {
    let whole: String = typed.trim().to_ascii_uppercase();
    let (handle, secret) = whole.split_once('-')?;
    let fits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| LETTERS.contains(&b));
    (fits(handle, 4) && fits(secret, 12)).then(|| (handle.to_owned(), whole.clone()))
}

/// What is kept of a code: its SHA-256 in hex.
#[must_use]
pub fn hash(whole: &str) -> String {
    hex::encode(Sha256::digest(whole))
}

/// Did the holder of this public key sign the answer to this challenge?
#[must_use]
pub fn is_host(public_key: &str, host: &Name, nonce: &str, signature: &str) -> bool {
    verify(public_key, &hello_message(host, nonce), signature)
}

/// Does the joiner hold the key that it registers?
#[must_use]
pub fn holds_key(public_key: &str, host: &Name, nonce: &str, signature: &str) -> bool {
    verify(public_key, &join_message(host, nonce, public_key), signature)
}

fn verify(public_key: &str, message: &[u8], signature: &str) -> bool {
    let mut key = [0u8; 32];
    let mut sig = [0u8; 64];
    if hex::decode_to_slice(public_key, &mut key).is_err() || hex::decode_to_slice(signature, &mut sig).is_err() {
        return false;
    }
    // `verify_strict` also refuses keys of small order.
    VerifyingKey::from_bytes(&key).is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(&sig)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    #[test]
    fn codes_split_as_people_type_them() {
        let made = code(std::array::from_fn(|i| u8::try_from(i * 17).unwrap()));
        let (handle, whole) = split(&format!(" {} ", made.to_lowercase())).unwrap();
        assert_eq!((handle.len(), whole.as_str()), (4, made.as_str()));
        for bad in ["", "AAAA-", "23-45", "2345-6789BCDFGHJ", "2345-6789BCDFGHJKM", "OOOO-6789BCDFGHJK", "é345-6789BCDFGHJK"] {
            assert!(split(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_signature_answers_one_challenge_of_one_host() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = hex::encode(key.verifying_key().as_bytes());
        let host: Name = "attic".parse().unwrap();
        let other: Name = "cellar".parse().unwrap();
        let signature = hex::encode(key.sign(&hello_message(&host, "n1")).to_bytes());
        assert!(is_host(&public, &host, "n1", &signature));
        assert!(!is_host(&public, &host, "n2", &signature));
        assert!(!is_host(&public, &other, "n1", &signature));
        assert!(!holds_key(&public, &host, "n1", &signature));
        assert!(!is_host("00", &host, "n1", &signature));
        assert!(!is_host(&"0".repeat(64), &host, "n1", &"0".repeat(128)));
    }
}
