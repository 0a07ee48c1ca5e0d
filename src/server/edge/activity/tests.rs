use super::*;

const LIMITS: ConnectionLimits =
    ConnectionLimits { total: 3, per_source: 2, idle: Duration::from_secs(75), age: Duration::from_secs(3600), traffic: Traffic::Messages };

fn activity() -> Arc<Activity> {
    with(LIMITS)
}

fn with(limits: ConnectionLimits) -> Arc<Activity> {
    Arc::new(Activity::new("192.0.2.1".parse().unwrap(), Stopwatch::start(), 0, limits.traffic))
}

#[test]
fn hd3_idle_is_measured_by_requests() {
    let activity = activity();
    let after = |seconds: u64| {
        activity.review(activity.changed.load(SeqCst) + seconds * 1000, LIMITS);
        activity.order()
    };
    drop(activity.begin(true));
    activity.note_bytes();
    assert_eq!((after(60), after(75), after(76)), (Order::Stay, Order::Stay, Order::Finish), "received bytes do not count");
    activity.ordered.store(0, SeqCst);
    let request = activity.begin(true);
    assert_eq!(after(59), Order::Finish, "a request is finished");
    drop(request);
    assert_eq!((after(5), after(6)), (Order::Finish, Order::Close));
}

#[test]
fn hd3_a_connection_without_a_request_and_one_that_finishes_none_are_closed() {
    let (silent, stalled) = (activity(), activity());
    let after = |activity: &Activity, seconds: u64| {
        activity.review(activity.changed.load(SeqCst) + seconds * 1000, LIMITS);
        activity.order()
    };
    assert_eq!((after(&silent, 20), after(&silent, 21)), (Order::Stay, Order::Close));
    let _request = stalled.begin(true);
    assert_eq!((after(&stalled, 60), after(&stalled, 61)), (Order::Stay, Order::Close));
}

#[test]
fn hd3_a_connection_that_has_to_go_does_not_stay_by_sending_requests() {
    for order in [Order::Finish, Order::MakeRoom] {
        let activity = activity();
        let (mut request, ordered) = (activity.begin(true), activity.changed.load(SeqCst));
        activity.give_order(order);
        activity.ordered.store(ordered, SeqCst);
        for seconds in 1..=61 {
            assert_eq!(activity.order(), order, "{seconds}");
            let next = activity.begin(true);
            drop(std::mem::replace(&mut request, next));
            activity.changed.store(ordered + seconds * 1000, SeqCst);
            activity.review(ordered + seconds * 1000, LIMITS);
        }
        assert_eq!(activity.order(), Order::Close);
    }
}

#[test]
fn hd3_a_connection_without_a_request_makes_room_within_5_s() {
    let activity = activity();
    activity.give_order(Order::MakeRoom);
    let ordered = activity.ordered.load(SeqCst);
    activity.review(ordered + 5_000, LIMITS);
    assert_eq!(activity.order(), Order::MakeRoom);
    activity.review(ordered + 5_001, LIMITS);
    assert_eq!(activity.order(), Order::Close);
}

#[test]
fn op7_an_idle_connection_outlives_a_proxys_60_s_while_headers_are_limited_to_10_s() {
    let activity = activity();
    drop(activity.begin(false));
    let began = activity.changed.load(SeqCst);
    activity.review(began + 70_000, LIMITS);
    assert_eq!(activity.order(), Order::Stay);
    activity.note_bytes();
    let partial_since = activity.partial_since.load(SeqCst);
    activity.review(partial_since + 10_000, LIMITS);
    assert_eq!(activity.order(), Order::Stay);
    activity.review(partial_since + 10_001, LIMITS);
    assert_eq!(activity.order(), Order::Close);
}

#[test]
fn hd3_an_old_connection_announces_that_its_next_answer_is_the_last() {
    let (one, two) = (activity(), activity());
    drop(one.begin(false));
    let (first, second) = (one.begin(false), two.begin(true));
    for activity in [&one, &two] {
        activity.changed.store(3_601_000, SeqCst);
        activity.review(activity.opened + 3_601_000, LIMITS);
    }
    assert!(one.is_last() && two.is_last());
    assert_eq!((one.order(), two.order()), (Order::Stay, Order::Finish));
    drop((first, second));
}

#[test]
fn gd2_a_stream_is_under_way_for_as_long_as_bytes_move() {
    let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
    let stream = with(limits);
    let _request = stream.begin(true);
    stream.begin_stream();
    let after = |since: u64, seconds: u64| {
        stream.review(since + seconds * 1000, limits);
        stream.order()
    };
    let began = stream.changed.load(SeqCst);
    assert_eq!(after(began, 120), Order::Stay);
    for hour in 1..=3 {
        stream.changed.store(began + hour * 3_600_000, SeqCst);
        assert_eq!(after(began, hour * 3600 + 120), Order::Finish, "{hour}");
    }
    assert_eq!(after(began, 3 * 3600 + 121), Order::Close, "nothing moves any more");
}

#[test]
fn gd2_a_connection_none_of_whose_requests_is_passed_on_has_the_limits_of_messages() {
    let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
    for passed_on in [false, true] {
        let activity = with(limits);
        let _request = activity.begin(true);
        if passed_on {
            activity.begin_stream();
        }
        activity.changed.store(0, SeqCst);
        activity.review(60_000, limits);
        assert_eq!(activity.order(), Order::Stay);
        activity.review(60_001, limits);
        assert_eq!(activity.order(), if passed_on { Order::Stay } else { Order::Close });
    }
}

#[test]
fn gd2_a_stream_that_began_while_its_connection_made_room_is_not_cut_off_while_bytes_move() {
    let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
    let stream = with(limits);
    stream.give_order(Order::MakeRoom);
    stream.begin_stream();
    let (_request, ordered) = (stream.begin(true), stream.ordered.load(SeqCst));
    for minute in 1..=10 {
        stream.changed.store(ordered + minute * 60_000, SeqCst);
        stream.review(ordered + minute * 60_000 + 1000, limits);
        assert_eq!(stream.order(), Order::MakeRoom, "{minute}");
    }
    stream.review(ordered + 10 * 60_000 + 120_001, limits);
    assert_eq!(stream.order(), Order::Close);
}

#[test]
fn gd2_bytes_are_progress_of_a_stream_if_they_are_of_a_body_or_of_an_upgraded_connection() {
    let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
    let (stream, messages) = (with(limits), activity());
    let progresses = |activity: &Activity, note: &dyn Fn()| {
        activity.changed.store(u64::MAX, SeqCst);
        note();
        activity.changed.load(SeqCst) != u64::MAX
    };
    let (request, message) = (stream.begin(true), messages.begin(false));
    assert!(!progresses(&stream, &|| request.note_progress()), "the answer is one of this process");
    stream.begin_stream();
    assert!(!progresses(&stream, &|| stream.note_bytes()), "it may be a PING");
    assert!(!progresses(&stream, &|| stream.note_moved()), "it may be the answer to one");
    assert!(progresses(&stream, &|| request.note_progress()));
    assert!(!progresses(&messages, &|| message.note_progress()), "a request that trickles has stalled");
    drop(request);
    let _upgraded = stream.upgrade();
    assert!(progresses(&stream, &|| stream.note_bytes()));
    assert!(progresses(&stream, &|| stream.note_moved()));
}
