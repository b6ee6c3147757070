use std::time::Duration;

use super::record::{FIRST_EJECTION, FORGOTTEN, LONGEST_EJECTION};
use super::*;

fn told(uuid: &str, version: u64) -> Option<Told> {
    Some(Told { cluster_uuid: uuid.to_owned(), applied: Some((None, version)) })
}

fn tag(uuid: &str, version: u64) -> StateVersion {
    StateVersion { cluster_uuid: uuid.to_owned(), version, state_uuid: String::new() }
}

/// So many members of cluster `u`.
fn members(count: usize) -> Hosts {
    let mut hosts = Hosts::new(count);
    for index in 0..count {
        hosts.heard(index, told("u", 1), Instant::now());
    }
    hosts
}

fn order(hosts: &mut Hosts, now: Instant) -> Vec<usize> {
    let mut tried = Vec::new();
    while let Some(choice) = hosts.choose(&tried, now) {
        tried.push(choice.index);
    }
    tried
}

#[test]
fn the_least_busy_is_chosen_and_ties_take_turns() {
    let (mut hosts, now) = (members(3), Instant::now());
    let turns: Vec<_> = (0..6).map(|_| hosts.choose(&[], now).unwrap().index).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    hosts.outstanding(0, 2, now);
    hosts.outstanding(1, 1, now);
    assert_eq!(order(&mut hosts, now), [2, 1, 0]);
    hosts.outstanding(0, -2, now);
    assert_eq!(hosts.choose(&[2], now).unwrap().index, 0);
}

#[test]
fn ejections_double_up_to_a_minute_and_an_answer_ends_them() {
    let (mut hosts, start) = (members(2), Instant::now());
    let mut now = start;
    let mut lengths = Vec::new();
    for _ in 0..8 {
        assert!(hosts.failed(0, Failure::Connect, now));
        assert!(!hosts.failed(0, Failure::Connect, now), "those who fail together count once");
        let until = hosts.hosts[0].ejected_until.unwrap();
        lengths.push((until - now).as_secs());
        assert!(hosts.to_check(true, until - Duration::from_millis(1)).is_empty());
        assert_eq!(hosts.to_check(true, until), [0]);
        assert_eq!(hosts.choose(&[], until).unwrap().index, 1, "it comes back by a check alone");
        now = until;
    }
    assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(hosts.heard(0, told("u", 1), Instant::now()), Some(News::Joined));
    assert_eq!(hosts.choose(&[1], now), Some(Choice { index: 0, ejected: false, unproven: false }));
    assert!(hosts.failed(0, Failure::Connect, now));
    assert_eq!(hosts.hosts[0].ejected_until.unwrap() - now, FIRST_EJECTION);
}

#[test]
fn if_all_are_ejected_the_first_to_return_is_tried() {
    let (mut hosts, now) = (members(2), Instant::now());
    hosts.failed(1, Failure::Connect, now);
    let later = now + Duration::from_millis(500);
    hosts.failed(0, Failure::Connect, later);
    assert_eq!(hosts.choose(&[], later), Some(Choice { index: 1, ejected: true, unproven: true }));
    assert_eq!(hosts.to_check(true, later), [0, 1], "in an outage all are asked");
}

#[test]
fn a_break_and_a_silence_are_no_refusal() {
    let (mut hosts, now) = (members(2), Instant::now());
    assert!(!hosts.failed(0, Failure::Broken, now));
    assert_eq!(hosts.choose(&[1], now), Some(Choice { index: 0, ejected: false, unproven: true }));
    assert!(hosts.failed(1, Failure::Silent, now));
    assert_eq!(hosts.choose(&[0], now), Some(Choice { index: 1, ejected: true, unproven: false }));
}

/// Requests are no way to find out whether it is back: each would wait as long as it takes to find it silent.
#[test]
fn a_silent_host_stays_out_until_it_speaks_while_another_one_does() {
    let (mut hosts, start) = (members(2), Instant::now());
    let mut now = start;
    for length in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(hosts.failed(1, Failure::Silent, now) && hosts.has_silent());
        let until = hosts.hosts[1].ejected_until.unwrap();
        assert_eq!((until - now).as_secs(), length);
        now = until;
        assert_eq!(hosts.to_check(true, now), [1], "it is asked");
        assert!(!hosts.has_other(&[0], now) && hosts.report(1, now).1, "and not used");
    }
    assert_eq!(order(&mut hosts, now), [0, 1]);
    // with nobody else it is tried as before
    hosts.failed(0, Failure::Silent, now);
    let later = now + LONGEST_EJECTION;
    assert!(!hosts.choose(&[], later).unwrap().ejected);
    hosts.heard(0, told("u", 1), later);
    hosts.failed(1, Failure::Silent, later);
    hosts.answered(1, None, Some(true), later);
    assert!(!hosts.has_silent() && hosts.has_other(&[0], later), "an answer is a word");
}

#[test]
fn who_closed_a_connection_is_asked_again_and_used_meanwhile_by_nobody_else() {
    let (mut hosts, now) = (members(2), Instant::now());
    hosts.closed(1);
    assert!(hosts.choose(&[0], now).unwrap().unproven && !hosts.choose(&[1], now).unwrap().unproven);
    hosts.heard(1, told("u", 1), now);
    assert!(!hosts.choose(&[0], now).unwrap().unproven);
    // who does not tell after that is nobody that was known
    assert!(hosts.has_applied(1, &tag("u", 1)));
    hosts.heard(1, None, now);
    assert!(hosts.proven(1), "it is still who it was");
    hosts.closed(1);
    hosts.heard(1, None, now);
    assert!(!hosts.proven(1) && !hosts.has_applied(1, &tag("u", 1)));
    let mut alone = members(1);
    alone.closed(0);
    assert!(!alone.choose(&[], now).unwrap().unproven, "it cannot be mixed up with another one");
}

#[test]
fn contact_is_the_best_of_the_latest_words() {
    let (mut hosts, now) = (Hosts::new(2), Instant::now());
    assert_eq!(hosts.contact(now), Contact::Unasked);
    hosts.failed(0, Failure::Connect, now);
    assert_eq!(hosts.contact(now), Contact::Refused);
    hosts.failed(1, Failure::Silent, now);
    assert_eq!(hosts.contact(now), Contact::Silent);
    hosts.heard(0, told("u", 1), now);
    assert_eq!(hosts.contact(now), Contact::Answers);
    // one request that broke is no loss of the host, two that cannot be sent are, however well it once was
    hosts.failed(0, Failure::Broken, now);
    assert_eq!(hosts.contact(now), Contact::Answers);
    hosts.failed(0, Failure::Connect, now);
    assert_eq!(hosts.contact(now), Contact::Silent);
    hosts.answered(1, None, Some(false), now);
    assert_eq!(hosts.contact(now), Contact::Answers, "503 is an answer");
    hosts.heard(1, told("v", 1), now);
    hosts.heard(0, None, now);
    assert_eq!(hosts.contact(now), Contact::Foreign);
}

/// New connections may be refused while those that are open answer: then the host is there.
#[test]
fn a_refused_connection_is_no_loss_of_a_host_that_has_just_answered() {
    let (mut hosts, start) = (members(1), Instant::now());
    let after = |millis| start + Duration::from_millis(millis);
    hosts.answered(0, None, Some(true), start);
    hosts.failed(0, Failure::Connect, after(500));
    // a request that waits is no answer
    hosts.outstanding(0, 1, after(900));
    assert_eq!(hosts.contact(after(999)), Contact::Answers);
    assert_eq!(hosts.contact(after(1_000)), Contact::Refused, "nothing was heard for a second");
    hosts.answered(0, None, None, after(1_100));
    assert_eq!(hosts.contact(after(9_000)), Contact::Answers, "what is answered later counts");
    // who closes connections and takes no new ones has gone
    hosts.answered(0, None, None, after(9_000));
    hosts.closed(0);
    assert_eq!(hosts.contact(after(9_000)), Contact::Answers);
    hosts.failed(0, Failure::Connect, after(9_001));
    assert_eq!(hosts.contact(after(9_001)), Contact::Refused);
    for how in [Failure::Broken, Failure::Stale] {
        hosts.heard(0, told("u", 1), after(9_100));
        hosts.failed(0, how, after(9_101));
        assert_eq!(hosts.contact(after(9_101)), Contact::Answers, "{how:?}");
        hosts.failed(0, Failure::Connect, after(9_102));
        assert_eq!(hosts.contact(after(9_102)), Contact::Refused, "{how:?}");
    }
}

#[test]
fn only_who_answers_refuses_in_passing() {
    let (mut hosts, start) = (members(2), Instant::now());
    let after = |millis| start + Duration::from_millis(millis);
    hosts.answered(0, None, None, start);
    assert!(!hosts.refused_in_passing(start, start));
    // a host that is dead refuses whatever the others can answer
    hosts.closed(1);
    hosts.failed(1, Failure::Connect, after(1));
    assert!(!hosts.refused_in_passing(start, after(1)));
    hosts.failed(0, Failure::Connect, after(2));
    assert!(hosts.refused_in_passing(after(2), after(2)) && !hosts.refused_in_passing(after(3), after(3)));
    assert!(!hosts.refused_in_passing(start, after(1_000)), "nor does it answer any more");
    hosts.answered(0, None, None, after(1_001));
    assert!(hosts.refused_in_passing(start, after(9_000)), "it has answered afterwards");
}

#[test]
fn who_closed_a_connection_is_asked_at_the_next_tick_even_if_it_is_alone() {
    for count in [1, 2] {
        let (mut hosts, now) = (members(count), Instant::now());
        assert!(hosts.to_check(true, now).is_empty());
        hosts.closed(0);
        assert_eq!(hosts.to_check(true, now), [0]);
        hosts.heard(0, told("u", 1), now);
        assert!(hosts.to_check(true, now).is_empty());
    }
}

#[test]
fn the_place_of_a_node_that_has_gone_is_given_away_when_it_is_forgotten() {
    let (mut hosts, start) = (Hosts::new(1), Instant::now());
    assert_eq!((hosts.add(3, start), hosts.add(3, start), hosts.add(3, start)), (Some(1), Some(2), None));
    hosts.heard(1, told("u", 1), start);
    assert!(hosts.gone(1, start) && !hosts.gone(1, start + FORGOTTEN / 2), "gone once");
    let early = start + FORGOTTEN - Duration::from_millis(1);
    assert_eq!(hosts.add(3, early), None);
    // it came back in time
    assert!(hosts.found(1) && hosts.gone(1, early));
    assert_eq!(hosts.add(3, start + FORGOTTEN), None);
    hosts.outstanding(1, 1, early);
    let late = early + FORGOTTEN;
    assert_eq!(hosts.add(3, late), None, "something is asked of it");
    hosts.outstanding(1, -1, late);
    assert_eq!(hosts.add(3, late), Some(1));
    assert_eq!(hosts.report(1, late).0, Standing::Unknown, "nothing of the old one is left");
    assert_eq!(hosts.add(3, late + FORGOTTEN), None, "it is there");
}

#[test]
fn who_answers_badly_again_and_again_is_left_while_another_answers_well() {
    let (mut hosts, now) = (members(2), Instant::now());
    hosts.answered(0, None, Some(true), now);
    for _ in 1..BAD_STREAK {
        assert!(!hosts.answered(1, None, Some(false), now));
    }
    assert!(!hosts.answered(1, None, Some(true), now), "a good answer ends the streak");
    for _ in 1..BAD_STREAK {
        assert!(!hosts.answered(1, None, Some(false), now));
    }
    // its requests weigh more
    hosts.outstanding(0, 2, now);
    hosts.outstanding(1, 1, now);
    assert_eq!(hosts.choose(&[], now).unwrap().index, 0);
    assert!(hosts.answered(1, None, Some(false), now));
    assert!(!hosts.answered(1, None, Some(false), now), "once for those that were under way");
    assert_eq!(order(&mut hosts, now), [0, 1]);
    // then it is tried with one request at a time, and each failure doubles the time
    let mut now = now;
    for length in [1, 2, 4, 8, 16, 32, 60, 60] {
        let until = hosts.hosts[1].ejected_until.unwrap();
        assert_eq!((until - now).as_secs(), length);
        hosts.outstanding(1, -1, until);
        hosts.outstanding(0, 10, until);
        assert_eq!(hosts.choose(&[], until), Some(Choice { index: 1, ejected: false, unproven: false }));
        hosts.outstanding(1, 1, until);
        assert_eq!(hosts.choose(&[], until).unwrap().index, 0, "one at a time");
        hosts.outstanding(0, -10, until);
        assert!(hosts.answered(1, None, Some(false), until));
        now = until;
    }
    assert!(!hosts.answered(1, None, Some(true), now));
    assert!(!hosts.answered(1, None, Some(false), now), "it is whole again");
}

/// Then the errors are the engine's answer, and there is nobody better to ask.
#[test]
fn where_all_answer_badly_nobody_is_left() {
    let (mut hosts, now) = (members(2), Instant::now());
    for _ in 0..3 * BAD_STREAK {
        assert!(!hosts.answered(0, None, Some(false), now) && !hosts.answered(1, None, Some(false), now));
    }
    hosts.answered(0, None, Some(true), now);
    assert!(hosts.answered(1, None, Some(false), now));
    let mut alone = members(1);
    assert!((0..3 * BAD_STREAK).all(|_| !alone.answered(0, None, Some(false), now)));
}

#[test]
fn who_is_waited_for_and_says_nothing_is_suspect() {
    let (mut hosts, start) = (members(2), Instant::now());
    let later = start + SUSPICION;
    assert!(hosts.to_check(true, later).is_empty(), "nobody waits");
    hosts.outstanding(0, 1, start);
    assert!(hosts.to_check(true, later - Duration::from_millis(1)).is_empty());
    assert_eq!(hosts.to_check(true, later), [0]);
    hosts.outstanding(0, 1, later);
    assert_eq!(hosts.to_check(true, later), [0], "another request is no sign of life");
    hosts.answered(0, None, Some(false), later);
    assert!(hosts.to_check(true, later).is_empty());
    assert!(hosts.has_other(&[0], later) && !hosts.has_other(&[0, 1], later));
    hosts.failed(1, Failure::Silent, later);
    assert!(!hosts.has_other(&[0], later));
}

#[test]
fn the_first_uuid_rules_until_all_show_another() {
    let mut hosts = Hosts::new(2);
    assert_eq!(hosts.heard(0, told("u", 1), Instant::now()), Some(News::Joined));
    assert_eq!(hosts.heard(1, told("v", 1), Instant::now()), Some(News::LeftOut));
    assert_eq!(hosts.heard(1, told("v", 2), Instant::now()), None, "said once");
    assert_eq!(order(&mut hosts, Instant::now()), [0]);
    // the first one cannot be asked: nothing is known of it, and the other one stays out
    hosts.failed(0, Failure::Connect, Instant::now());
    assert_eq!(hosts.heard(1, told("v", 3), Instant::now()), None);
    assert_eq!(order(&mut hosts, Instant::now()), [0]);
    assert_eq!(hosts.heard(0, None, Instant::now()), None);
    assert_eq!(hosts.cluster(), Some("u"));
    assert_eq!(hosts.heard(0, told("v", 3), Instant::now()), Some(News::Swapped));
    assert_eq!(order(&mut hosts, Instant::now()).len(), 2);
    assert_eq!(hosts.cluster(), Some("v"));
}

#[test]
fn who_does_not_tell_is_used_only_where_nobody_tells() {
    let (mut hosts, now) = (Hosts::new(2), Instant::now());
    hosts.heard(0, None, Instant::now());
    hosts.heard(1, None, Instant::now());
    assert!(!hosts.choose(&[], now).unwrap().unproven);
    hosts.heard(1, told("u", 1), Instant::now());
    assert!(hosts.choose(&[1], now).unwrap().unproven);
    // who told once and does not now is still what it was
    hosts.heard(1, None, Instant::now());
    assert!(!hosts.choose(&[0], now).unwrap().unproven);
}

#[test]
fn what_a_host_has_applied_rises_within_a_cluster_and_is_of_one_address() {
    let mut hosts = members(1);
    let at = |address: &str, uuid: &str, version| {
        let address = Some(address.parse().unwrap());
        Some(Told { cluster_uuid: uuid.to_owned(), applied: Some((address, version)) })
    };
    assert!(hosts.has_applied(0, &tag("u", 1)) && !hosts.has_applied(0, &tag("u", 2)));
    assert!(!hosts.has_applied(0, &tag("v", 1)));
    hosts.heard(0, at("10.0.0.1:9200", "u", 7), Instant::now());
    hosts.heard(0, at("10.0.0.1:9200", "u", 5), Instant::now());
    assert!(hosts.has_applied(0, &tag("u", 7)));
    hosts.answered(0, Some("10.0.0.2:9200".parse().unwrap()), Some(true), Instant::now());
    assert!(!hosts.has_applied(0, &tag("u", 7)), "another address, another node");
    hosts.heard(0, at("10.0.0.1:9200", "v", 2), Instant::now());
    assert!(hosts.has_applied(0, &tag("v", 2)) && !hosts.has_applied(0, &tag("v", 7)));
    hosts.failed(0, Failure::Broken, Instant::now());
    assert!(!hosts.has_applied(0, &tag("v", 2)));
}

/// What is asked may need what the host has lost. Clients' requests go on in turn: they may not.
#[test]
fn who_was_asked_in_vain_is_asked_last_for_a_while() {
    let (mut hosts, start) = (members(2), Instant::now());
    let asked =
        |hosts: &mut Hosts, now| (0..4).map(|_| hosts.choose_to_ask(&[], now).unwrap().index).collect();
    let turns: Vec<usize> = asked(&mut hosts, start);
    assert_eq!(turns, [0, 1, 0, 1]);
    hosts.asked(1, true, start);
    let turns: Vec<usize> = asked(&mut hosts, start);
    assert_eq!(turns, [0; 4]);
    let turns: Vec<_> = (0..4).map(|_| hosts.choose(&[], start).unwrap().index).collect();
    assert_eq!(turns, [1, 0, 1, 0]);
    assert_eq!(hosts.choose_to_ask(&[0], start).unwrap().index, 1, "it is better than nobody");
    // where all are, they take turns; and it is tried again
    hosts.asked(0, true, start);
    let turns: Vec<usize> = asked(&mut hosts, start);
    assert_eq!(turns, [0, 1, 0, 1]);
    hosts.asked(0, false, start);
    let turns: Vec<usize> = asked(&mut hosts, start + Duration::from_secs(59));
    assert_eq!(turns, [0; 4]);
    let turns: Vec<usize> = asked(&mut hosts, start + Duration::from_secs(60));
    assert_eq!(turns, [1, 0, 1, 0]);
    hosts.asked(1, true, start);
    hosts.asked(1, false, start);
    let turns: Vec<usize> = asked(&mut hosts, start);
    assert!(turns.contains(&1), "an answer ends it");
}
