use super::*;

fn frames(count: u32) -> impl Iterator<Item = Bytes> {
    (0..count).map(|number| {
        let mut frame = vec![0; HEADER_SIZE];
        frame.extend_from_slice(&number.to_be_bytes());
        frame.into()
    })
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[HEADER_SIZE..].try_into().unwrap())
}

fn run(faults: Faults, seed: u64, count: u32) -> (Vec<u32>, LinkStatistics) {
    let mut now = Instant::now();
    let mut link = Link::new(faults, seed);
    let mut out = Vec::new();
    for frame in frames(count) {
        link.push(frame, now);
        while let Some(frame) = link.pop(now) {
            out.push(number(&frame));
        }
    }
    while let Some(time) = link.next_time(now) {
        now = time.max(now);
        while let Some(frame) = link.pop(now) {
            out.push(number(&frame));
        }
    }
    (out, link.statistics())
}

#[test]
fn without_faults_everything_passes_at_once() {
    let (out, statistics) = run(Faults::default(), 1, 1000);
    assert!(out.into_iter().eq(0..1000));
    assert_eq!(statistics.passed, 1000);
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    let faults = Faults {
        lose: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        ..Faults::default()
    };
    let (first, statistics) = run(faults.clone(), 7, 1000);
    assert_eq!(run(faults.clone(), 7, 1000).0, first);
    assert_ne!(run(faults, 8, 1000).0, first);
    assert!((50..150).contains(&statistics.lost));
    assert!((50..150).contains(&statistics.duplicated));
    assert!((50..150).contains(&statistics.reordered));
    assert_eq!(
        statistics.passed,
        1000 - statistics.lost + statistics.duplicated
    );
    let reordered = first.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(reordered > 30, "{reordered}");
}

#[test]
fn corruption_spares_the_header() {
    let mut link = Link::new(
        Faults {
            corrupt: 1.0,
            ..Faults::default()
        },
        1,
    );
    let now = Instant::now();
    let frame = frames(1).next().unwrap();
    link.push(frame.clone(), now);
    let changed = link.pop(now).unwrap();
    assert_eq!(changed[..HEADER_SIZE], frame[..HEADER_SIZE]);
    assert_ne!(changed, frame);
}

#[test]
fn the_token_bucket_lets_a_burst_through_and_then_its_rate() {
    let start = Instant::now();
    let mut link = Link::new(
        Faults {
            bandwidth: Some(Bandwidth {
                bytes_per_second: 1000,
                burst: 500,
            }),
            queue: 2000,
            delay: Duration::from_millis(10),
            ..Faults::default()
        },
        1,
    );
    let mut sent = 0;
    while link.has_room(start) {
        link.push(Bytes::from(vec![0; 100]), start);
        sent += 1;
    }
    assert_eq!(sent, 20);
    let arrived = |link: &mut Link, time: u64| {
        let now = start + Duration::from_millis(time);
        std::iter::from_fn(|| link.pop(now)).count()
    };
    // The first frame counts from now, the bucket was full for nobody before.
    assert_eq!(arrived(&mut link, 9), 0);
    assert_eq!(arrived(&mut link, 111), 1);
    assert_eq!(arrived(&mut link, 1011), 9);
}

#[test]
fn a_cut_lets_pass_what_came_before_and_loses_what_comes_after() {
    let now = Instant::now();
    let mut link = Link::new(
        Faults {
            cuts: [Cut {
                after: After::Frames(3),
                lose: 2,
                ending: Ending::Reset,
            }]
            .into(),
            ..Faults::default()
        },
        1,
    );
    let mut frames = frames(10);
    for _ in 0..4 {
        link.push(frames.next().unwrap(), now);
    }
    assert_eq!(link.take_cut(now), None);
    assert!(link.has_room(now));
    link.push(frames.next().unwrap(), now);
    // No more than asked for.
    assert!(!link.has_room(now));
    let passed: Vec<u32> = std::iter::from_fn(|| link.pop(now))
        .map(|it| number(&it))
        .collect();
    assert_eq!(passed, [0, 1, 2]);
    assert_eq!(link.take_cut(now), Some(Ending::Reset));
    link.disconnect();
    link.push(frames.next().unwrap(), now);
    assert!(link.pop(now).is_some());
}

#[test]
fn a_cut_does_not_wait_for_ever_for_what_it_is_to_lose() {
    let now = Instant::now();
    let cut = Cut {
        after: After::Frames(1),
        lose: 50,
        ending: Ending::bye(),
    };
    let mut link = Link::new(
        Faults {
            cuts: [cut].into(),
            ..Faults::default()
        },
        1,
    );
    link.push(frames(1).next().unwrap(), now);
    link.pop(now);
    let due = link.next_time(now).unwrap();
    assert_eq!(link.take_cut(due), Some(Ending::bye()));
}
