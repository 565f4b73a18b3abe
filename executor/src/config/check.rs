//! What no two projects may share: an address to listen on, and a directory.
//!
//! The fault stands at whichever of the two comes later in the file and names
//! both. Pairs are compared one by one, 20,000 at the most with 200 projects.

use super::address;
use super::project::ProjectRead;
use super::reader::Reader;
use super::section::Found;

/// Reports addresses and directories that are claimed twice.
pub(super) fn claims(reader: &mut Reader<'_>, projects: &[ProjectRead]) {
    pairs(
        projects,
        |project| project.listen.as_ref(),
        |other, earlier, here| {
            address::collide(*earlier, *here)
                .then(|| format!("`listen`: {here} collides with {earlier} of the project {other}"))
        },
        reader,
    );
    pairs(
        projects,
        |project| project.dir.as_ref(),
        |other, earlier, here| {
            let (here, shown) = (here.as_path(), earlier.display());
            if here == earlier {
                Some(format!(
                    "`dir`: {shown} is also the directory of the project {other}"
                ))
            } else if here.starts_with(earlier) || earlier.starts_with(here) {
                Some(format!(
                    "`dir`: one inside the other, with {shown} of the project {other}"
                ))
            } else {
                None
            }
        },
        reader,
    );
}

/// Calls `conflict(name of the earlier, earlier claim, later claim)` for every
/// pair of claims and reports what it says at the later one.
fn pairs<T>(
    projects: &[ProjectRead],
    claim: impl Fn(&ProjectRead) -> Option<&Found<T>>,
    conflict: impl Fn(&str, &T, &T) -> Option<String>,
    reader: &mut Reader<'_>,
) {
    let mut claimed: Vec<(&str, &Found<T>)> = projects
        .iter()
        .filter_map(|project| Some((project.name.as_str(), claim(project)?)))
        .collect();
    claimed.sort_by_key(|(_, found)| &found.spot);
    for (index, (name, found)) in claimed.iter().enumerate() {
        for (other, earlier) in &claimed[..index] {
            if let Some(message) = conflict(other, &earlier.value, &found.value) {
                reader.fault(&found.spot, format!("{message} (here: {name})"));
            }
        }
    }
}
