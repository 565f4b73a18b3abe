//! A full disk is its own error.

use super::super::*;
use super::harness::{World, noise, soon};
use super::serving::{Manners, Server};

/// Root only, since it mounts: a file system of 4 MB that a fetch fills.
#[test]
fn a_full_disk_is_said() {
    let world = World::new();
    world.commit_file("a", noise(8_000_000, 1));
    let small = world.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&small)
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: only root may mount the small file system that this fills");
        return;
    }
    let store = open_store(&small).unwrap();
    let server = Server::start(world.dir.path(), Manners::default());
    let origin = Origin {
        url: server.url("site/.git"),
        token: None,
    };
    let over_http = store.fetch(&world.web, &origin, "main", &soon(), &mut |_| {});
    let from_disk = store.fetch(&world.web, &world.local(), "main", &soon(), &mut |_| {});
    drop(store);
    std::process::Command::new("umount")
        .arg(&small)
        .status()
        .unwrap();
    for error in [over_http.unwrap_err(), from_disk.unwrap_err()] {
        println!("{error}");
        assert!(matches!(error, FetchError::Disk { .. }), "{error:?}");
    }
}
