use super::super::testing::*;
use super::*;
use crate::view::JobRow;
use doorstep_shared::ids::Action;

#[test]
fn nobody_is_left_alone_with_an_empty_page() {
    let page = home(&FleetView::default(), None, VIEWER);
    assert_eq!(
        seen(&page),
        "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
         # Projects\n\
         ## No host yet\n\
         A host is a machine of yours that runs doorstep. It dials out; nothing listens on it for us.\n\
         Press the button for a one-time code:\n\
         [Add a host]\n\
         On the host, write /etc/doorstep/doorstep.toml:\n\
         [project.shop]\nrepo = \"https://github.com/me/shop\"\n\
         Type these three commands there; the page behind the button fills in the first:\n\
         # this dashboard's address, and the code\ndoorstep join <address> <code>\n\
         # keeps the link and the apps up\ndoorstep run\n\
         # in another terminal: what it has\ndoorstep status\n\
         This page shows the host as soon as it has joined."
    );
    assert!(page.contains("<form method=\"post\" action=\"/hosts/enrollments\">"));
}

#[test]
fn a_host_without_rows_shows_the_smallest_file() {
    let page = home(&FleetView { hosts: vec![a_host("attic", true)], projects: vec![] }, None, VIEWER);
    assert!(
        seen(&page)
            .contains("## attic\n● online up 9 d 0 h executor 0.1.0\nNo project in its doorstep.toml yet.\n## No project yet")
    );
    assert!(page.contains("[project.shop]\nrepo = "));
}

#[test]
fn the_first_page_of_an_ordinary_fleet() {
    let text = seen(&home(&a_fleet(), None, VIEWER));
    let above = text.split("Add a host or a project").next().unwrap();
    assert_eq!(
        above.trim_end(),
        "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
         # Projects\n\
         4 projects on 2 hosts: 6 things need a look.\n\
         ## Needs a look\n\
         attic ▲ takes no jobs: the disk is full\n\
         cellar ○ offline last seen 3 h ago 1 job waits for it\n\
         broker on attic ✕ failing exited with 1, 5 times in a minute\n\
         media on attic ▲ degraded\n\
         broker on attic deploy ↺ rolled back at check: /health answered 500 3 min ago\n\
         shop on cellar deploy ✕ dead its host did not carry it out within 14 days 2 h ago\n\
         ## attic\n● online up 9 d 0 h executor 0.1.0\n▲ takes no jobs: the disk is full\n\
         ### broker\n✕ failing\nexited with 1, 5 times in a minute\n\
         Live\n9f2c11d Bump the wire version\nby Ann, live 2 days ago\n\
         Last run\ndeploy ↺ rolled back at check\n3 min ago, took 31 s\n\
         More: broker on attic\n[Fetch: broker on attic]\n\
         Not allowed from here: deploy, restart, stop, start, rebuild, rollback\n\
         The doorstep.toml of attic decides. This would allow it:\n[project.broker.policy]\n\
         remote = [\"fetch\", \"deploy\", \"restart\", \"stop\", \"start\", \"rebuild\", \"rollback\", \"logs\"]\n\
         ### media\n▲ degraded\nhttp://10.0.0.4:8096\n\
         Live\nnothing yet\nLast run\nnone yet\n[Deploy media on attic]\nMore: media on attic\n[Fetch: media on attic]\n\
         ### shop\n● running\nshop.example\n\
         deploy running\n◐\ndeploy rolled back in 31 s\n↺\ndeploy succeeded in 12.4 s\n\
         Live\na1b2c3d Add the cart\nby Ann, live 3 min ago\n\
         Branch\n2 commits behind\nCount the items\n\
         Last run\ndeploy ◐ running\nfor 42 s\n\
         Queue\n1 deploy ◐ leased: under way\n[Cancel: deploy shop on attic]\n2 fetches ○ waiting\n\
         [Deploy shop on attic]\nMore: shop on attic\n\
         [Restart: shop on attic]\n[Stop: shop on attic]\n[Fetch: shop on attic]\n[Roll back: shop on attic]\n[Rebuild: shop on attic]\n\
         ## cellar\n○ offline last seen 3 h ago executor 0.1.0\n\
         ### shop\n● last known: running\nshop.example\n\
         Live\na1b2c3d Add the cart\nby Ann, live 3 min ago\n\
         Last run\ndeploy ✓ succeeded\n3 min ago, took 12.4 s\n\
         Queue\n1 deploy ○ waiting: its host is away, last heard 3 h ago; the job is kept until 2026-10-04 (14 days)\n[Cancel: deploy shop on cellar]\n1 deploy ✕ dead: its host did not carry it out within 14 days 2 h ago\n[Try again: deploy shop on cellar]\n[Deploy shop on cellar]\nMore: shop on cellar\n\
         [Restart: shop on cellar]\n[Stop: shop on cellar]\n[Fetch: shop on cellar]\n[Roll back: shop on cellar]\n[Rebuild: shop on cellar]"
    );
}

#[test]
fn what_needs_a_look_comes_first_and_nothing_else_does() {
    let mut fleet = a_fleet();
    let text = seen(&home(&fleet, None, VIEWER));
    assert!(text.find("## Needs a look").unwrap() < text.find("## attic").unwrap());
    fleet.hosts.iter_mut().for_each(|host| (host.online, host.parked) = (true, None));
    fleet.projects = vec![a_project("attic", "shop"), a_project("cellar", "shop")];
    let text = seen(&home(&fleet, None, VIEWER));
    assert!(!text.contains("Needs a look") && text.contains("2 projects on 2 hosts: all is well."), "{text}");
    fleet.projects[0].state = "degraded".parse().unwrap();
    assert!(seen(&home(&fleet, None, VIEWER)).contains("2 projects on 2 hosts: one thing needs a look."));
    // What is only remembered of a host that is away is not one more thing.
    (fleet.projects[0].online, fleet.hosts[0].online) = (false, false);
    let text = seen(&home(&fleet, None, VIEWER));
    assert!(text.contains("one thing needs a look") && text.contains("## Needs a look\nattic ○ offline last seen"), "{text}");
    fleet.projects = (0..40).map(|n| ProjectRow { trouble: Some(a_run("r", "failed")), ..a_project("attic", &format!("p{n}")) }).collect();
    let text = seen(&home(&fleet, None, VIEWER));
    assert!(text.contains("41 things need a look") && text.contains("and 29 things more below"), "{text}");
}

#[test]
fn a_host_says_how_far_away_it_is_and_since_when_it_is_up() {
    let host = HostView { round_trip_ms: Some(23), booted: Some(before(3 * 3_600_000)), ..a_host("attic", true) };
    let page = home(&FleetView { hosts: vec![host], projects: vec![] }, None, VIEWER);
    assert!(seen(&page).contains("## attic\n● online 23 ms away up 3 h 0 min executor 0.1.0"), "{}", seen(&page));
    assert!(page.contains("<span id=\"trip/attic\" data-measure>23 ms away</span>"));
}

#[test]
fn what_waits_for_another_try_says_when() {
    let mut shop = a_project("attic", "shop");
    shop.jobs = vec![JobRow { failures: 1, again: Some(NOW.plus_ms(40_000)), reason: Some("the network is down".into()), ..a_job("deploy", "waiting") }];
    let text = seen(&home(&FleetView { hosts: vec![], projects: vec![shop] }, None, VIEWER));
    assert!(text.contains("1 deploy ○ waiting: it failed and is tried again in 40 s; the network is down"), "{text}");
}

#[test]
fn the_last_runs_are_a_bar_that_says_what_it_shows() {
    let mut shop = a_project("attic", "shop");
    shop.recent = vec![a_run("r3", "running"), a_run("r2", "rolled_back"), a_run("r1", "succeeded")];
    let page = home(&FleetView { hosts: vec![], projects: vec![shop] }, None, VIEWER);
    assert!(page.contains("role=\"img\" aria-label=\"The last 3 runs: 1 running, 1 succeeded, 1 rolled back\""), "{page}");
    assert!(page.contains("<title>deploy succeeded in 12.4 s</title>") && page.matches("</title><path d=").count() == 3, "{page}");
}

#[test]
fn what_is_not_allowed_is_named_with_the_line_that_would_allow_it() {
    let mut shop = a_project("attic", "shop");
    shop.remote = vec![Action::Fetch, Action::Deploy, Action::Restart];
    let text = seen(&home(&FleetView { hosts: vec![], projects: vec![shop] }, None, VIEWER));
    assert!(text.contains("Not allowed from here: stop, start, rebuild, rollback"), "{text}");
    assert!(text.contains("[project.shop.policy]\nremote = [\"fetch\", \"deploy\", \"restart\", \"stop\", \"start\", \"rebuild\", \"rollback\", \"logs\"]"), "{text}");
}

#[test]
fn an_open_page_is_sent_what_differs() {
    let mut fleet = a_fleet();
    let whole = home(&fleet, None, VIEWER);
    let have: Vec<String> = whole.split(" data-v=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    assert_eq!(have.len(), 8, "four projects, two hosts, what needs a look, what comes next");
    // Time goes by and a host is heard again: nothing that is not counted on here.
    fleet.projects[0].host_last_seen = Some(NOW);
    let same = home(&fleet, Some(&have), Viewer { now: NOW.plus_ms(90_000), ..VIEWER });
    assert_eq!(same.matches(" data-same>").count(), 8, "{same}");
    assert!(same.starts_with("<title>") && same.len() < 6_000);
    let other = home(&fleet, Some(&have), Viewer { form_token: "another session's", ..VIEWER });
    assert_eq!(other.matches(" data-same>").count(), 3, "its forms carry another token");
    fleet.projects[2].recent[0] = a_run("r3", "succeeded");
    let fresh = home(&fleet, Some(&have), VIEWER);
    assert_eq!(fresh.matches(" data-same>").count(), 7);
    assert!(fresh.contains("/attic/shop/deploy") && !fresh.contains("/cellar/shop/deploy"));
}

#[test]
fn a_job_for_one_service_names_it() {
    let mut media = a_project("attic", "media");
    let of = |service: &str, id| JobRow { id: doorstep_shared::ids::JobId(id), service: Some(service.parse().unwrap()), ..a_job("restart", "waiting") };
    media.jobs = vec![of("web", 1), of("jobs", 2), of("web", 3)];
    let text = seen(&home(&FleetView { hosts: vec![], projects: vec![media] }, None, VIEWER));
    assert!(text.contains("2 restarts of web ○ waiting\n1 restart of jobs ○ waiting\n[Cancel: restart jobs of shop on attic]"), "{text}");
}

#[test]
fn a_deploy_is_offered_only_where_the_host_allows_it() {
    let page = home(&a_fleet(), None, VIEWER);
    assert!(page.contains("action=\"/projects/attic/shop/deploy\""));
    assert!(!page.contains("action=\"/projects/attic/broker/deploy\""));
}

#[test]
fn a_project_whose_host_is_not_listed_is_still_shown() {
    let page = home(&FleetView { hosts: vec![], projects: vec![a_project("attic", "shop")] }, None, VIEWER);
    assert!(seen(&page).contains("## attic\n### shop"));
}

#[test]
fn hostile_words_change_no_markup() {
    let with = |word: &str| {
        let fleet = FleetView { hosts: vec![hostile_host(word)], projects: vec![hostile_project(word)] };
        skeleton(&home(&fleet, None, VIEWER))
    };
    for hostile in HOSTILE {
        assert_eq!(with(hostile), with("x"), "{hostile}");
    }
}

#[test]
fn a_huge_fleet_is_one_page() {
    let hosts = (0..50).map(|h| a_host(&format!("h{h:02}"), h % 2 == 0)).collect();
    let rows =
        (0..50).flat_map(|h| (0..40).map(move |p| a_project(&format!("h{h:02}"), &format!("p{p}")))).collect();
    let page = home(&FleetView { hosts, projects: rows }, None, VIEWER);
    assert_eq!(page.matches("<li class=\"card\"").count(), 2_000);
    assert_well_formed(&page);
}
