use futures_util::FutureExt;

use super::*;
use crate::server::edge::traffic::Traffic;

const LIMITS: ConnectionLimits =
    ConnectionLimits { total: 3, per_source: 2, idle: Duration::from_secs(75), age: Duration::from_secs(3600), traffic: Traffic::Messages };
const STALLED_AFTER: Duration = LIMITS.traffic.eviction_limit();

fn places() -> Places {
    Places::new(LIMITS, ConnectionMeters::default())
}

/// Enters at a time at which none of the open connections is new any more.
fn enter_later(places: &Places, source: &str) -> Entry {
    let last = places.open().all().map(|activity| activity.opened).max().unwrap_or_default();
    places.enter_at(last + 1000, source.parse().unwrap(), true)
}

fn enter(places: &Places, source: &str) -> Place {
    match enter_later(places, source) {
        Entry::Place(place) => place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hd3_a_connection_whose_first_request_is_on_its_way_gives_way_last() {
    let places = places();
    let (new, used) = (enter(&places, "192.0.2.1"), enter(&places, "192.0.2.1"));
    drop(used.activity.begin(false));
    used.activity.changed.store(new.activity.changed.load(SeqCst) + 500, SeqCst);
    let now = new.activity.changed.load(SeqCst) + 600;
    let third = places.enter_at(now, "192.0.2.1".parse().unwrap(), true);
    assert_eq!((new.activity.order(), used.activity.order()), (Order::Stay, Order::MakeRoom));
    let fourth = places.enter_at(now + 1000, "192.0.2.1".parse().unwrap(), true);
    assert_eq!(new.activity.order(), Order::MakeRoom, "after a second it is idle like any other");
    drop((third, fourth, new, used));
}

#[test]
fn hd3_a_connection_that_has_just_been_accepted_keeps_its_place_and_the_next_one_waits() {
    // The next one is of the same source, which has no limit; of another source without a limit; or of a stranger.
    for (next, limited) in [("192.0.2.1", false), ("192.0.2.2", false), ("192.0.2.3", true)] {
        let places = Places::new(ConnectionLimits { total: 1, ..LIMITS }, ConnectionMeters::default());
        let new = enter(&places, "192.0.2.1");
        let opened = new.activity.opened;
        let enter_after = |pause: u64| places.enter_at(opened + pause, next.parse().unwrap(), limited);
        assert!(matches!((enter_after(999), new.activity.order()), (Entry::Full, Order::Stay)), "its task has not run yet");
        new.activity.served_since.store(opened + 10, SeqCst);
        assert!(matches!((enter_after(109), new.activity.order()), (Entry::Full, Order::Stay)), "its request may be on its way");
        assert!(matches!((enter_after(110), new.activity.order()), (Entry::Place(_), Order::MakeRoom)), "{next}");
    }
    let places = Places::new(ConnectionLimits { total: 1, ..LIMITS }, ConnectionMeters::default());
    let new = enter(&places, "192.0.2.1");
    let after_a_second = places.enter_at(new.activity.opened + 1000, "192.0.2.1".parse().unwrap(), false);
    assert!(matches!(after_a_second, Entry::Place(_)), "although its task has not run");
}

#[test]
fn hd3_of_new_connections_one_that_had_time_for_a_request_gives_way_even_if_another_is_older() {
    let places = places();
    let [oldest, stranger, another] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|source| {
        if let Entry::Place(place) = places.enter_at(1000, source.parse().unwrap(), true) { place } else { panic!("there is a place") }
    });
    another.activity.changed.store(1001, SeqCst);
    stranger.activity.changed.store(1002, SeqCst);
    stranger.activity.served_since.store(1000, SeqCst);
    assert!(matches!(places.enter_at(1200, "192.0.2.1".parse().unwrap(), false), Entry::Place(_)));
    assert_eq!([&oldest, &stranger, &another].map(|place| place.activity.order()), [Order::Stay, Order::MakeRoom, Order::Stay]);
}

#[test]
fn hd3_a_silent_flood_of_a_source_without_a_limit_keeps_no_one_else_out() {
    let places = Places::new(ConnectionLimits { total: 8, ..LIMITS }, ConnectionMeters::default());
    let (mut silent, mut accepted) = (Vec::new(), 0);
    // Tries once in a millisecond. The task of each connection runs at once, and ends when it is ordered to.
    let mut flood = |from: u64, to: u64| {
        for now in from..to {
            if let Entry::Place(place) = places.enter_at(now, "192.0.2.1".parse().unwrap(), false) {
                place.activity.served_since.store(now, SeqCst);
                silent.push(place);
                accepted += 1;
            }
            silent.retain(|place: &Place| place.activity.order() == Order::Stay);
        }
        accepted
    };
    assert_eq!(flood(0, 1000), 80, "as many as there are places, every 100 ms");
    let Entry::Place(caller) = places.enter_at(1000, "192.0.2.2".parse().unwrap(), true) else { panic!("it waits for 100 ms at most") };
    caller.activity.served_since.store(1000, SeqCst);
    flood(1001, 1100);
    assert_eq!(caller.activity.order(), Order::Stay, "it has 100 ms for its request");
    let _request = caller.activity.begin(false);
    flood(1100, 3000);
    assert_eq!(caller.activity.order(), Order::Stay);
}

#[test]
fn hd3_the_connection_that_has_been_idle_longest_is_closed_to_make_room() {
    let places = places();
    let one = enter(&places, "2001:db8::1");
    let neighbour = enter(&places, "2001:db8::ffff:1");
    one.activity.changed.store(10, SeqCst);
    neighbour.activity.changed.store(5, SeqCst);
    let third = enter(&places, "2001:db8::2");
    assert_eq!((one.activity.order(), neighbour.activity.order()), (Order::Stay, Order::MakeRoom), "of the same /64");
    let other = enter(&places, "2001:db8:0:1::1");
    let busy: Vec<_> = [&one, &third, &other].map(|place| place.activity.begin(true)).into();
    assert!(matches!(places.enter("2001:db8::3".parse().unwrap(), true), Entry::SourceFull));
    assert!(matches!(places.enter("192.0.2.1".parse().unwrap(), true), Entry::Full));
    assert!(matches!(places.enter("2001:db8::3".parse().unwrap(), false), Entry::Full), "a trusted proxy");
    drop(busy);
    enter(&places, "192.0.2.1");
    drop((one, neighbour, third, other));
    assert!(places.open().sources.is_empty(), "a source without connections takes no memory");
    assert_eq!(places.0.meters.open.get(), 0);
}

/// The time at which a request that has begun on the connection of `place` has just stalled.
fn stalled_at(place: &Place) -> u64 {
    place.activity.changed.load(SeqCst) + millis(STALLED_AFTER) + 1
}

#[test]
fn hd3_the_longest_stalled_connection_of_the_source_with_most_connections_is_closed() {
    let places = places();
    let [first, second, other] = ["192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|source| enter(&places, source));
    let _busy = [&first, &second, &other].map(|place| place.activity.begin(true));
    for (place, changed) in [(&first, 2), (&second, 1), (&other, 0)] {
        place.activity.changed.store(changed, SeqCst);
    }
    let orders = || [&first, &second, &other].map(|place| place.activity.order());
    let enter_at = |now| places.enter_at(now, "192.0.2.3".parse().unwrap(), true);
    assert!(matches!(enter_at(millis(STALLED_AFTER)), Entry::Full), "nothing has stalled");
    assert_eq!(orders(), [Order::Stay; 3]);
    assert!(matches!(enter_at(stalled_at(&first)), Entry::Place(_)));
    assert_eq!(orders(), [Order::Stay, Order::Close, Order::Stay], "the other source has stalled longer and has fewer");
    assert_eq!(places.0.meters.evicted.get(), 1);
}

#[test]
fn hd3_a_connection_whose_request_has_not_stalled_is_never_closed() {
    let places = places();
    let [fresh, stalled, another] = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(|source| enter(&places, source));
    let _busy = [&fresh, &stalled, &another].map(|place| place.activity.begin(true));
    for (place, changed) in [(&fresh, 1000), (&stalled, 0), (&another, 1000)] {
        place.activity.changed.store(changed, SeqCst);
    }
    let now = stalled_at(&stalled);
    assert!(matches!(places.enter_at(now, "192.0.2.3".parse().unwrap(), true), Entry::Place(_)));
    assert_eq!(stalled.activity.order(), Order::Close, "its source has fewer connections");
    assert_eq!([fresh.activity.order(), another.activity.order()], [Order::Stay; 2]);
}

#[test]
fn gd2_a_stream_is_closed_to_make_room_only_if_it_is_quiet_for_longer_than_a_healthy_one() {
    let traffic = Traffic::Streams { quiet: Duration::from_secs(120) };
    let places = Places::new(ConnectionLimits { total: 1, traffic, ..LIMITS }, ConnectionMeters::default());
    let stream = enter(&places, "192.0.2.1");
    let _request = stream.activity.begin(false);
    stream.activity.begin_stream();
    stream.activity.changed.store(0, SeqCst);
    assert!(matches!(places.enter_at(120_000, "192.0.2.2".parse().unwrap(), true), Entry::Full));
    assert!(matches!(places.enter_at(120_001, "192.0.2.2".parse().unwrap(), true), Entry::Place(_)));
}

#[test]
fn gd2_a_refused_request_whose_answer_is_not_read_gives_way_as_early_as_a_message() {
    let traffic = Traffic::Streams { quiet: Duration::from_secs(120) };
    let places = Places::new(ConnectionLimits { total: 1, traffic, ..LIMITS }, ConnectionMeters::default());
    let refused = enter(&places, "192.0.2.1");
    let _request = refused.activity.begin(true);
    refused.activity.changed.store(0, SeqCst);
    assert!(matches!(places.enter_at(12_000, "192.0.2.2".parse().unwrap(), true), Entry::Full));
    assert!(matches!(places.enter_at(12_001, "192.0.2.2".parse().unwrap(), true), Entry::Place(_)));
}

#[test]
fn hd3_a_source_at_its_limit_loses_its_own_stalled_connection() {
    let places = places();
    let [other, first, second] = ["192.0.2.2", "192.0.2.1", "192.0.2.1"].map(|source| enter(&places, source));
    let _busy = [&other, &first, &second].map(|place| place.activity.begin(true));
    for (place, changed) in [(&other, 0), (&first, 2), (&second, 1000)] {
        place.activity.changed.store(changed, SeqCst);
    }
    let enter_at = |now| places.enter_at(now, "192.0.2.1".parse().unwrap(), true);
    assert!(matches!(enter_at(stalled_at(&other)), Entry::SourceFull), "only another's has stalled");
    assert!(matches!(enter_at(stalled_at(&first)), Entry::Place(_)));
    assert_eq!([&other, &first, &second].map(|place| place.activity.order()), [Order::Stay, Order::Close, Order::Stay]);
}

#[test]
fn hd3_a_connection_that_makes_room_counts_until_it_is_closed() {
    let places = Places::new(ConnectionLimits { total: 1, ..LIMITS }, ConnectionMeters::default());
    let first = enter(&places, "192.0.2.1");
    first.activity.changed.store(0, SeqCst);
    let second = enter(&places, "192.0.2.2");
    assert_eq!(first.activity.order(), Order::MakeRoom);
    assert_eq!(places.0.meters.open.get(), 2);
    drop(second);
    assert!(places.empty().now_or_never().is_none(), "a drain waits for it");
    let later = first.activity.ordered.load(SeqCst) + 5_001;
    places.open().all().for_each(|activity| activity.review(later, LIMITS));
    assert_eq!(first.activity.order(), Order::Close, "its time is limited");
    drop(first);
    assert!(places.empty().now_or_never().is_some());
    assert_eq!(places.0.meters.open.get(), 0);
}

#[test]
fn hd3_leaving_connections_are_limited_and_the_source_with_most_of_them_loses_one() {
    let limits = ConnectionLimits { total: 32, per_source: 32, ..LIMITS };
    let places = Places::new(limits, ConnectionMeters::default());
    let mut open: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.2"].map(|source| enter(&places, source)).into();
    open.extend((3..32).map(|_| enter(&places, "192.0.2.3")));
    for (place, changed) in open.iter().zip(0..) {
        place.activity.changed.store(changed, SeqCst);
    }
    let source = "198.51.100.1";
    let mut entered = Vec::new();
    let mut enter_more = |count: usize| {
        while entered.len() < count
            && let Entry::Place(place) = enter_later(&places, source)
        {
            place.activity.changed.store(u64::MAX, SeqCst);
            entered.push(place);
        }
        let orders: Vec<_> = open[..9].iter().map(|place| place.activity.order()).collect();
        (entered.len(), orders)
    };
    let (leaves, closed, stays) = (Order::MakeRoom, Order::Close, Order::Stay);
    let orders = |closed_ones: &[usize], gone: usize| -> Vec<Order> {
        let of_gone = |at: usize| if closed_ones.contains(&at) { closed } else { leaves };
        (0..gone).map(of_gone).chain(std::iter::repeat(stays)).take(9).collect()
    };
    assert_eq!(enter_more(4), (4, orders(&[], 4)), "half of the places for leaving connections");
    assert_eq!(enter_more(5), (5, orders(&[1], 5)), "192.0.2.2 and 192.0.2.3 have two");
    assert_eq!(enter_more(6), (6, orders(&[1, 3], 6)), "192.0.2.3 has three");
    assert_eq!(enter_more(32), (8, orders(&[1, 3, 4, 5], 8)), "the next waits until one is closed");
    drop(open.remove(1));
    assert!(matches!(enter_later(&places, source), Entry::Place(_)));
}
