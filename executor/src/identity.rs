//! Who this host is: its name, its edge and its Ed25519 key.
//!
//! One file, `identity.json`, mode 0600, written whole or not at all. The
//! private key never leaves it; the edge knows the public half.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use doorstep_shared::ids::Name;
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};

/// The host's identity.
#[derive(Serialize, Deserialize)]
pub struct Identity {
    /// The name it is enrolled under.
    pub host: Name,
    /// The edge it is enrolled at.
    pub edge: String,
    /// The private key, 32 bytes in hex.
    private_key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("host", &self.host).field("edge", &self.edge).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new one with a fresh key.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn create(host: Name, edge: String) -> Result<Self> {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|fault| anyhow::anyhow!("the system has no randomness: {fault}"))?;
        Ok(Self { host, edge, private_key: hex::encode(seed) })
    }

    /// The one of this state directory, if it has joined.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub fn load(state: &Path) -> Result<Option<Self>> {
        let path = file(state);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(fault).with_context(|| format!("{} cannot be read", path.display())),
        };
        let identity: Self = serde_json::from_str(&text).with_context(|| format!("{} is damaged; join again", path.display()))?;
        identity.key().with_context(|| format!("{} is damaged; join again", path.display()))?;
        Ok(Some(identity))
    }

    /// Keeps it: a new file, synced, renamed over the old one.
    ///
    /// # Errors
    ///
    /// When the state directory cannot be written.
    pub fn save(&self, state: &Path) -> Result<()> {
        let path = file(state);
        let fresh = path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            out.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            std::fs::File::open(state)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    fn key(&self) -> Result<SigningKey> {
        let mut seed = [0u8; 32];
        hex::decode_to_slice(&self.private_key, &mut seed).map_err(|_| anyhow::anyhow!("the key is not 32 bytes in hex"))?;
        Ok(SigningKey::from_bytes(&seed))
    }

    /// The public key in hex.
    ///
    /// # Errors
    ///
    /// When the key is damaged.
    pub fn public_key(&self) -> Result<String> {
        Ok(hex::encode(self.key()?.verifying_key().as_bytes()))
    }

    /// A signature in hex.
    ///
    /// # Errors
    ///
    /// When the key is damaged.
    pub fn sign(&self, message: &[u8]) -> Result<String> {
        Ok(hex::encode(self.key()?.sign(message).to_bytes()))
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("identity.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_for_its_owner_alone_and_read_back() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let made = Identity::create("attic".parse().unwrap(), "https://e".into()).unwrap();
        made.save(dir.path()).unwrap();
        let read = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(read.public_key().unwrap(), made.public_key().unwrap());
        assert_eq!(std::fs::metadata(file(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{made:?}").contains(&made.private_key));
    }

    #[test]
    fn a_damaged_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", r#"{"host":"a","edge":"e","private_key":"00"}"#] {
            std::fs::write(file(dir.path()), text).unwrap();
            assert!(Identity::load(dir.path()).is_err(), "{text}");
        }
    }
}
