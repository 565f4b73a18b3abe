//! The harness of the end-to-end stories: real programs and stateful fakes,
//! driven with domain verbs.
//!
//! [`Edge`] is `doorstep edge` on workerd, [`Host`] the executor, [`GitOrigin`]
//! real git over HTTP, [`App`] something to deploy. [`GitHub`] and
//! [`FakeExecutor`] are fakes with state of the two ends that are elsewhere.
//! Everything listens on 127.0.0.1 at ports of the system's choice, keeps its
//! files in a temporary folder, and ends with the value that stands for it,
//! also when the test process is killed. Nothing sleeps: every wait is
//! [`wait::until`], which has a deadline and says what it saw. Absent: any
//! knowledge of the insides of the programs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a harness fails its test by panicking")]

mod app;
mod chatter;
mod child;
mod composed;
mod crowd;
mod docker;
mod edge;
mod executor;
mod github;
mod host;
mod index;
pub mod machine;
pub mod net;
mod origin;
mod page;
mod prober;
mod push;
mod raw;
mod relay;
mod shop;
mod small_disk;
mod starts;
mod systemd;
mod tab;
pub mod told;
mod tools;
pub mod wait;

pub use app::App;
pub use chatter::Chatter;
pub use child::{Child, Ended};
pub use crowd::Crowd;
pub use docker::{BASE, Docker};
pub use edge::{API_TOKEN, Edge, PASSWORD, Secrets, WEBHOOK_SECRET};
pub use executor::{FakeExecutor, Heard, Session, Socket, project};
pub use github::{Delivery, GitHub, signature};
pub use host::Host;
pub use index::{Index, Load};
pub use origin::{GitOrigin, git};
pub use page::Page;
pub use prober::{Probed, Prober};
pub use push::Push;
pub use raw::{Answer, Raw};
pub use relay::{Death, Relay};
pub use shop::{Pushed, Shop, Terms};
pub use small_disk::SmallDisk;
pub use starts::Starts;
pub use systemd::Systemd;
pub use tab::{Seen, Tab};
pub use tools::{Tools, gunzipped, gzipped};

/// A builder of HTTP clients. It asks for no TLS, but a build of the whole
/// workspace gives it the executor's, which wants its provider to be named.
pub fn http() -> reqwest::ClientBuilder {
    // A second call finds it set, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}
