//! What a connection becomes after 101: bytes both ways, whatever they mean.
//!
//! A tunnel stays with the upstream that opened it, and counts as in flight
//! there until both directions have ended or it is cut. It has no time limit.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper::{Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::Notify;
use tracing::debug;

use super::body::Answer;
use super::forward::Session;
use super::headers;
use super::upstream::InFlight;

/// Joins `client` with the upstream that sent `response`, and answers the
/// client with it.
pub(super) fn open(
    session: &Arc<Session>,
    client: OnUpgrade,
    mut response: Response<Incoming>,
    in_flight: InFlight,
) -> Response<Answer> {
    let upstream = hyper::upgrade::on(&mut response);
    let cut = Arc::new(Notify::new());
    let until_cut = Arc::clone(&cut).notified_owned();
    in_flight.hand_over(cut);
    let session = Arc::clone(session);
    tokio::spawn(async move {
        tokio::pin!(until_cut);
        // Told from here on, also before the task's first wait.
        until_cut.as_mut().enable();
        tokio::select! {
            biased;
            () = until_cut => {}
            ended = join(client, upstream) => if let Err(error) = ended {
                debug!(project = session.route.project, %error, "a tunnel ended badly");
            }
        }
        drop(in_flight);
    });
    let (mut head, _) = response.into_parts();
    headers::to_client_switching(&mut head.headers);
    head.version = Version::HTTP_11;
    Response::from_parts(head, Answer::empty())
}

async fn join(client: OnUpgrade, upstream: OnUpgrade) -> anyhow::Result<()> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await?;
    Ok(())
}
