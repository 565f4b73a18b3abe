//! What a slot's files looked like when they were written: path, blob, mode
//! and the system's stamps of each, so that the next checkout can tell by
//! `lstat` alone what it need not write again.
//!
//! The file lives beside the object store, not in the slot, and ends in a hash
//! of itself. One that is missing, torn or of another version is as good as an
//! empty one: every file is then written.

use git2::Oid;
use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const HEADER: &[u8] = b"doorstep slot 1\0";
const HASH_BYTES: usize = 8;
/// Blob, mode, and the six stamps of [`Stamps`], as decimal text.
const NUMBERS: usize = 7;

/// What the system says of a file that no writer leaves unchanged.
///
/// The time of the last change of the inode (ctime) cannot be set by anybody,
/// so a file that was edited and given its old time again is noticed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    pub inode: u64,
    pub bytes: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

impl Stamps {
    pub fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            bytes: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// One file as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub blob: Oid,
    pub mode: i32,
    pub stamps: Stamps,
}

/// The files of a slot, by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SlotIndex {
    pub files: HashMap<Vec<u8>, Written>,
}

impl SlotIndex {
    /// Reads an index; an empty one if there is no sound one.
    pub fn load(path: &Path) -> Self {
        std::fs::read(path)
            .ok()
            .and_then(|bytes| Self::decode(&bytes))
            .unwrap_or_default()
    }

    /// Replaces the index on disk as a whole.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("index.new");
        std::fs::write(&new, self.encode())?;
        std::fs::rename(&new, path)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        for (path, file) in &self.files {
            let s = &file.stamps;
            let line = format!(
                "{} {} {} {} {} {} {} {} ",
                file.blob,
                file.mode,
                s.inode,
                s.bytes,
                s.modified.0,
                s.modified.1,
                s.changed.0,
                s.changed.1
            );
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(path);
            out.push(0);
        }
        out.extend_from_slice(&hash(&out));
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, end) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
        if hash(body) != end {
            return None;
        }
        let mut files = HashMap::new();
        for line in body
            .strip_prefix(HEADER)?
            .split(|b| *b == 0)
            .filter(|line| !line.is_empty())
        {
            let (path, file) = decode_line(line)?;
            files.insert(path, file);
        }
        Some(Self { files })
    }
}

/// FNV-1a: against torn files, not against people, and cheap enough to take
/// twice in a checkout of a few milliseconds.
fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.to_le_bytes()
}

fn decode_line(line: &[u8]) -> Option<(Vec<u8>, Written)> {
    let mut fields = line.splitn(NUMBERS + 2, |b| *b == b' ');
    let blob = Oid::from_str(std::str::from_utf8(fields.next()?).ok()?).ok()?;
    let mut numbers = [0i128; NUMBERS];
    for number in &mut numbers {
        *number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    }
    let [mode, inode, bytes, mtime, mtime_ns, ctime, ctime_ns] = numbers;
    let stamps = Stamps {
        inode: inode.try_into().ok()?,
        bytes: bytes.try_into().ok()?,
        modified: (mtime.try_into().ok()?, mtime_ns.try_into().ok()?),
        changed: (ctime.try_into().ok()?, ctime_ns.try_into().ok()?),
    };
    Some((
        fields.next()?.to_vec(),
        Written {
            blob,
            mode: mode.try_into().ok()?,
            stamps,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> SlotIndex {
        let stamps = Stamps {
            inode: u64::MAX,
            bytes: 7,
            modified: (-1, 999_999_999),
            changed: (1, 2),
        };
        let blob = Oid::hash_object(git2::ObjectType::Blob, b"x").unwrap();
        let file = Written {
            blob,
            mode: 0o100_755,
            stamps,
        };
        SlotIndex {
            files: [(b"a b\n/\xff c".to_vec(), file), (b"z".to_vec(), file)].into(),
        }
    }

    #[test]
    fn an_index_comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.index");
        index().save(&path).unwrap();
        assert_eq!(SlotIndex::load(&path), index());
    }

    #[test]
    fn any_damaged_byte_and_any_cut_makes_it_empty() {
        let bytes = index().encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(SlotIndex::decode(&bad), None, "byte {at}");
            assert_eq!(SlotIndex::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
