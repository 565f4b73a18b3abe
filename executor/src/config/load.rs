//! Finding and reading the host's file and the `.env` beside it.
//!
//! A file that was named must be there; only the two places nobody named are
//! tried in turn. The process's environment is read once and never written:
//! what `.env` adds goes into the [`Vars`] that are handed back, under the real
//! environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::fault::{self, Faults, RawFault, Spot};
use super::model::Config;
use super::secret::Vars;
use super::{FILE_BYTES_MAX, dotenv};

/// Where the file is looked for when nobody says where it is.
const PLACES: [&str; 2] = ["/etc/doorstep/doorstep.toml", "doorstep.toml"];

/// A configuration with where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file says; relative paths in it resolved against its directory.
    pub config: Config,
    /// The file, as an absolute path.
    pub file: PathBuf,
    /// The environment over the `.env`, for [`super::git_token`].
    pub vars: Vars,
}

/// Why there is no configuration. All of them mean: the person must act.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no file in any of the places.
    #[error("no doorstep.toml found; looked at {}", listed(.looked_at))]
    NotFound {
        /// The places, in the order they were tried.
        looked_at: Vec<PathBuf>,
    },
    /// A file is there but cannot be read.
    #[error("cannot read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A variable that would matter is not UTF-8.
    #[error("environment variable {name} is not UTF-8")]
    Variable {
        /// Its name, bad bytes replaced.
        name: String,
    },
    /// The files were read and are wrong.
    #[error(transparent)]
    Faults(#[from] Faults),
}

fn listed(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    places.join(", ")
}

/// Finds, reads and checks the host's file.
///
/// The file is `explicit` (the value of `--config`), else what `DOORSTEP_CONFIG`
/// names, else the first of `/etc/doorstep/doorstep.toml` and `doorstep.toml`.
///
/// # Errors
///
/// See [`LoadError`]; wrong content is reported completely, that of the `.env`
/// included.
pub fn load(explicit: Option<&Path>) -> Result<Loaded, LoadError> {
    let places = PLACES.map(PathBuf::from);
    load_from(explicit, std::env::vars_os(), &places)
}

pub(super) fn load_from(
    explicit: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    places: &[PathBuf],
) -> Result<Loaded, LoadError> {
    let environment = readable(environment)?;
    let named = environment
        .get("DOORSTEP_CONFIG")
        .filter(|name| !name.is_empty());
    let candidates = match explicit.map(Path::to_owned).or(named.map(PathBuf::from)) {
        Some(file) => vec![file],
        None => places.to_vec(),
    };
    let (file, bytes) = first(&candidates)?;
    let file_name = file.display().to_string();
    let absolute = std::path::absolute(&file).map_err(|source| LoadError::Read { file, source })?;
    let base = absolute.parent().unwrap_or(&absolute);
    let (beside, mut faults) = dot_env(base)?;

    let vars: Vars = beside.into_iter().chain(environment).collect();
    let parsed = text(&bytes, &file_name).and_then(|text| {
        let present: Vec<String> = vars.names().map(str::to_owned).collect();
        super::parse(
            text,
            &file_name,
            &|name| vars.get(name).map(str::to_owned),
            &present,
        )
    });
    match parsed {
        Ok(mut config) if faults.list.is_empty() => {
            config.resolve_paths(base);
            let file = absolute;
            Ok(Loaded { config, file, vars })
        }
        Ok(_) => Err(faults.into()),
        Err(mut all) => {
            all.list.append(&mut faults.list);
            all.omitted += faults.omitted;
            Err(all.into())
        }
    }
}

/// The environment as text. What is not text matters only under our own name.
fn readable(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, LoadError> {
    let mut readable = BTreeMap::new();
    for (name, value) in environment {
        let ours = name.as_encoded_bytes().starts_with(b"DOORSTEP_");
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                readable.insert(name, value);
            }
            (name, _) if ours => {
                let name = name.unwrap_or_else(|raw| fault::shown(&raw.to_string_lossy()));
                return Err(LoadError::Variable { name });
            }
            (_, _) => {}
        }
    }
    Ok(readable)
}

/// The first candidate that exists, with its content.
fn first(candidates: &[PathBuf]) -> Result<(PathBuf, Vec<u8>), LoadError> {
    for file in candidates {
        if let Some(bytes) = read(file)? {
            return Ok((file.clone(), bytes));
        }
    }
    Err(LoadError::NotFound {
        looked_at: candidates.to_vec(),
    })
}

type DotEnv = (Vec<(String, String)>, Faults);

fn dot_env(directory: &Path) -> Result<DotEnv, LoadError> {
    let file = directory.join(".env");
    let name = file.display().to_string();
    let bytes = read(&file)?.unwrap_or_default();
    Ok(match text(&bytes, &name) {
        Ok(text) => {
            let (pairs, raw) = dotenv::parse(text);
            (pairs, fault::locate(raw, text, &name))
        }
        Err(faults) => (Vec::new(), faults),
    })
}

/// A file's content, cut one byte past the limit; `None` when there is none.
fn read(file: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    let limit = FILE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let result = File::open(file).and_then(|open| open.take(limit).read_to_end(&mut bytes));
    match result {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LoadError::Read {
            file: file.to_owned(),
            source,
        }),
    }
}

fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Faults> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        return Err(fault::locate(
            vec![RawFault::new(Spot::Whole, message)],
            "",
            name,
        ));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let raw = RawFault::new(Spot::Byte(good.len()), "this byte is not UTF-8");
        fault::locate(vec![raw], good, name)
    })
}
