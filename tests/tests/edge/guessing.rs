//! Guessing the password: slow work for who guesses, and no lock for the others.

use doorstep_tests::{Answer, Edge, PASSWORD, wait};
use futures_util::future::join_all;

/// A guess at the password.
async fn guess(edge: &Edge, headers: &[(&str, &str)], word: &str) -> Answer {
    let form = [&[("content-type", "application/x-www-form-urlencoded")], headers].concat();
    edge.request("POST", "/login", &form, format!("password={word}")).await
}

#[tokio::test]
async fn guessing_the_password_is_slow_work() {
    let edge = Edge::start().await;
    let known = edge.session().await;
    for word in 0..5 {
        let answer = guess(&edge, &[], &format!("guess{word}")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "guess {word}");
    }
    let answer = guess(&edge, &[], "one-more").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert!(answer.text().contains("Too many wrong passwords. The next try is possible in 1 second."), "{}", answer.text());
    let right = edge.sign_in(PASSWORD).await;
    assert_eq!((right.status, right.header("set-cookie")), (429, None), "not even the right one, for a while");
    assert_eq!(edge.api("GET", "/api/hosts").await.status, 200, "a bearer is not in the way of it");
    // The wait goes by, and each wrong try after it makes the next one longer.
    let allowed = async || guess(&edge, &[], "again").await;
    wait::until("a try to be allowed", allowed, |answer| answer.status == 401).await;
    assert_eq!(guess(&edge, &[], "again").await.header("retry-after"), Some("2"));
    edge.meddle("UPDATE tries SET count = 60, last = last - 800000 WHERE who != '*'");
    let long: u64 = guess(&edge, &[], "again").await.header("retry-after").unwrap().parse().unwrap();
    assert!((60..=100).contains(&long), "of 15 minutes that much is left: {long}");
    // A browser that was signed in once does not wait for strangers.
    assert_eq!(guess(&edge, &[("cookie", &known)], "wrong").await.status, 401);
    let password = PASSWORD.replace(' ', "+");
    assert_eq!(guess(&edge, &[("cookie", &known)], &password).await.status, 303);
}

#[tokio::test]
async fn tries_that_come_at_once_are_counted_one_by_one() {
    let edge = Edge::start().await;
    let statuses = join_all((0..40).map(|_| async { guess(&edge, &[], "guess").await.status })).await;
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)));
}

#[tokio::test]
async fn guessers_from_everywhere_wait_together_and_not_for_long() {
    let edge = Edge::start().await;
    guess(&edge, &[], "guess").await;
    edge.meddle("UPDATE tries SET count = 70 WHERE who = '*'");
    edge.meddle("DELETE FROM tries WHERE who != '*'");
    let answer = edge.sign_in(PASSWORD).await;
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(answer.status, 429);
    assert!((50..=60).contains(&seconds), "a minute at most: {seconds}");
    edge.meddle("UPDATE tries SET last = last - 61000");
    assert_eq!(edge.sign_in(PASSWORD).await.status, 303);
}

#[tokio::test]
async fn a_guesser_cannot_pass_for_many() {
    let edge = Edge::start().await;
    let mut last = 0;
    for number in 0..6 {
        let address = format!("192.0.2.{number}");
        last = guess(&edge, &[("cf-connecting-ip", &address), ("x-forwarded-for", &address)], "guess").await.status;
    }
    assert_eq!(last, 429);
}
