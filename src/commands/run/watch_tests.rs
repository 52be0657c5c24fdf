use std::collections::HashMap;

use super::super::watched_command::MOST_NODES;
use super::*;
use crate::client::api::CommandInvocation;

/// How long a call takes.
const CALL: Duration = Duration::from_millis(40);

/// A service whose nodes end one after the other, and which answers in virtual time.
struct Service {
    nodes: Vec<CommandInvocation>,
    /// How many nodes end in a second.
    rate: f64,
    start: Instant,
    now: Instant,
    calls: Vec<Ask>,
    in_flight: VecDeque<(Instant, Ask)>,
    /// Every so many calls one is throttled.
    throttles: Option<usize>,
    /// So many lists behave as if it were earlier.
    late_lists: usize,
}

fn invocation(number: usize, status: &str, output: &str) -> CommandInvocation {
    CommandInvocation {
        node: format!("i-{number}"),
        name: format!("host-{number}"),
        status: status.to_owned(),
        details: status.to_owned(),
        code: Some(i32::from(status == "Failed")),
        output: output.to_owned(),
    }
}

impl Service {
    fn new(nodes: Vec<CommandInvocation>, rate: f64) -> Self {
        let now = Instant::now();
        Self {
            nodes,
            rate,
            start: now,
            now,
            calls: Vec::new(),
            in_flight: VecDeque::new(),
            throttles: None,
            late_lists: 0,
        }
    }

    fn ended(&self) -> usize {
        let seconds = self.now.duration_since(self.start).as_secs_f64();
        ((seconds * self.rate) as usize).min(self.nodes.len())
    }

    fn answer(&mut self, watch: &mut RunWatch, ask: Ask) {
        self.calls.push(ask.clone());
        if let Some(every) = self.throttles
            && self.calls.len().is_multiple_of(every)
        {
            watch.failed(ask, Trouble::Throttled, self.now).unwrap();
            return;
        }
        let ended = self.ended();
        match ask {
            Ask::Summary { part } => {
                let is_over = ended == self.nodes.len();
                let summary = CommandSummary {
                    status: if is_over { "Failed" } else { "InProgress" }.to_owned(),
                    details: String::new(),
                    targets: self.nodes.len() as u64,
                    completed: ended as u64,
                    errors: 0,
                };
                watch.summary(part, Some(summary), self.now).unwrap();
            }
            Ask::Page { part, next } => {
                let from: usize = next.map_or(0, |next| next.parse().unwrap());
                let to = (from + 50).min(self.nodes.len());
                let is_late = ended == self.nodes.len() && self.late_lists > 0;
                if is_late && to == self.nodes.len() {
                    self.late_lists -= 1;
                }
                let shown = if is_late { ended / 2 } else { ended };
                let one = |index: usize| {
                    let mut one = self.nodes[index].clone();
                    if index >= shown {
                        one.status = "InProgress".to_owned();
                        one.details = one.status.clone();
                        one.output.clear();
                    }
                    one
                };
                let page = CommandInvocations {
                    invocations: (from..to).map(one).collect(),
                    next: (to < self.nodes.len()).then(|| to.to_string()),
                };
                watch.page(part, page, self.now).unwrap();
            }
            Ask::Output { part, node } => {
                let output = CommandOutput {
                    stdout: format!("all of {node}"),
                    ..CommandOutput::default()
                };
                watch.output(part, &node, output);
            }
        }
    }

    /// Runs until everything is known; how each node ended, and how long it took.
    fn run(&mut self, watch: &mut RunWatch) -> (HashMap<String, EndedInvocation>, Duration) {
        let mut all = HashMap::new();
        for _ in 0..1_000_000 {
            let until = match watch.next(self.now) {
                WatchStep::Ask(ask) => {
                    self.in_flight.push_back((self.now + CALL, ask));
                    assert!(self.in_flight.len() <= CALLS_AT_ONCE);
                    continue;
                }
                WatchStep::Wait(until) => until,
                WatchStep::Over => return (all, self.now.duration_since(self.start)),
            };
            let answered = self.in_flight.front().map(|(time, _)| *time);
            let next = [answered, until].into_iter().flatten().min();
            self.now = next.expect("something to wait for").max(self.now);
            if answered.is_some_and(|time| time <= self.now) {
                let (_, ask) = self.in_flight.pop_front().unwrap();
                self.answer(watch, ask);
            }
            while let Some(ended) = watch.take_ended() {
                let before = all.insert(ended.node.clone(), ended);
                assert_eq!(before, None, "told twice");
            }
        }
        panic!("it never ends: {:?}", watch.counts());
    }

    fn count(&self, is_it: fn(&Ask) -> bool) -> usize {
        self.calls.iter().filter(|ask| is_it(ask)).count()
    }
}

fn watch(service: &Service) -> RunWatch {
    let options = WatchOptions {
        is_new: true,
        is_mixed: false,
    };
    RunWatch::new(1, options, service.now)
}

#[test]
fn thousands_of_nodes_take_few_calls() {
    let nodes = (0..2000).map(|number| match number % 20 {
        0 => invocation(number, "Failed", "\n----------ERROR-------\noh no"),
        _ => invocation(number, "Success", "done\n"),
    });
    let mut service = Service::new(nodes.collect(), 50.0);
    let mut watch = watch(&service);
    let (all, time) = service.run(&mut watch);
    assert_eq!(all.len(), 2000);
    assert_eq!(all["i-1"].stdout, "done\n");
    assert_eq!(all["i-20"].stdout, "all of i-20");
    let counts = watch.counts();
    assert_eq!((counts.all, counts.done, counts.failed), (2000, 2000, 100));
    // Only the failed ones are asked for one by one.
    let outputs = service.count(|ask| matches!(ask, Ask::Output { .. }));
    assert_eq!(outputs, 100);
    // It takes 40 s in all over there.
    assert!(time < Duration::from_secs(50), "{time:?}");
    assert!(service.calls.len() < 450, "{} calls", service.calls.len());
    let a_second = service.calls.len() as f64 / time.as_secs_f64();
    assert!(a_second <= 10.0, "{a_second}");
}

#[test]
fn what_is_slow_is_asked_for_less_and_less() {
    let mut service = Service::new(vec![invocation(0, "Success", "")], 1.0 / 3600.0);
    let mut watch = watch(&service);
    let (all, time) = service.run(&mut watch);
    assert_eq!(all.len(), 1);
    assert!(time < Duration::from_secs(3610), "{time:?}");
    assert!(service.calls.len() < 740, "{} calls", service.calls.len());
}

#[test]
fn throttled_calls_are_made_again() {
    let nodes = (0..200).map(|number| invocation(number, "Failed", "x----------ERROR-------y"));
    let mut service = Service::new(nodes.collect(), 1000.0);
    service.throttles = Some(3);
    let mut watch = watch(&service);
    let (all, _) = service.run(&mut watch);
    assert_eq!(all.len(), 200);
    assert!(all.values().all(|ended| ended.stdout.starts_with("all of")));
}

#[test]
fn a_list_that_is_late_is_read_again_and_at_last_believed() {
    for late in [2, 100] {
        let nodes = (0..60).map(|number| invocation(number, "Success", "ok"));
        let mut service = Service::new(nodes.collect(), 1000.0);
        service.late_lists = late;
        let mut watch = watch(&service);
        let (all, time) = service.run(&mut watch);
        assert_eq!(all.len(), 60);
        let successes = all.values().filter(|ended| ended.is_success()).count();
        assert_eq!(successes, if late == 2 { 60 } else { 30 });
        assert!(time < Duration::from_secs(10), "{time:?}");
    }
}

#[test]
fn a_command_that_nobody_is_meant_by_is_over() {
    let mut service = Service::new(Vec::new(), 1.0);
    let mut watch = watch(&service);
    let (all, _) = service.run(&mut watch);
    assert!(all.is_empty());
    assert_eq!(watch.counts(), Counts::default());
    assert_eq!(watch.untold(), None);
}

#[test]
fn nodes_of_the_other_command_are_not_counted() {
    let mut nodes: Vec<_> = (0..3)
        .map(|number| invocation(number, "Success", ""))
        .collect();
    nodes[1].status = "Failed".to_owned();
    nodes[1].details = "InvalidPlatform".to_owned();
    for (is_mixed, expected) in [(true, 2), (false, 3)] {
        let mut service = Service::new(nodes.clone(), 1000.0);
        let options = WatchOptions {
            is_new: true,
            is_mixed,
        };
        let mut watch = RunWatch::new(1, options, service.now);
        let (all, _) = service.run(&mut watch);
        assert_eq!(all.len(), expected);
        assert_eq!(watch.counts().all, expected as u64);
    }
}

#[test]
fn an_unknown_command_is_waited_for_only_after_it_was_sent() {
    let now = Instant::now();
    let summary = Ask::Summary { part: 0 };
    for is_new in [true, false] {
        let options = WatchOptions {
            is_new,
            is_mixed: false,
        };
        let mut watch = RunWatch::new(1, options, now);
        assert_eq!(watch.next(now), WatchStep::Ask(summary.clone()));
        assert_eq!(watch.summary(0, None, now).is_ok(), is_new);
        if is_new {
            let WatchStep::Wait(Some(until)) = watch.next(now) else {
                panic!("no pause");
            };
            assert_eq!(watch.next(until), WatchStep::Ask(summary.clone()));
            let late = now + Duration::from_secs(20);
            watch.summary(0, None, late).unwrap_err();
        }
    }
}

#[test]
fn trouble_lasts_ten_minutes_at_most() {
    let start = Instant::now();
    let mut now = start;
    let options = WatchOptions {
        is_new: true,
        is_mixed: false,
    };
    let mut watch = RunWatch::new(1, options, now);
    let mut calls = 0;
    let why = loop {
        match watch.next(now) {
            WatchStep::Ask(ask) => {
                calls += 1;
                let trouble = Trouble::Temporary("no network".to_owned());
                if let Err(why) = watch.failed(ask, trouble, now) {
                    break why;
                }
            }
            WatchStep::Wait(until) => now = until.expect("another try"),
            WatchStep::Over => panic!("over"),
        }
    };
    assert_eq!(why, "no network");
    let time = now.duration_since(start);
    assert!((600..640).contains(&time.as_secs()), "{time:?}");
    assert!(calls < 30, "{calls}");
}

#[test]
fn output_that_was_cut_is_known() {
    let (mut ended, is_whole) = EndedInvocation::of(invocation(1, "Success", &"x".repeat(2500)));
    assert!(!is_whole);
    ended.read(CommandOutput {
        stdout: "ü".repeat(24_000),
        stderr: "e\n--output truncated--".to_owned(),
        places: vec!["https://s3/x".to_owned()],
    });
    assert_eq!(ended.is_cut, [true, true]);
    ended.read(CommandOutput {
        stdout: "ü".repeat(23_999),
        ..CommandOutput::default()
    });
    assert_eq!(ended.is_cut, [false, false]);
}

#[test]
fn numbers_that_no_fleet_has_are_no_trouble() {
    let now = Instant::now();
    let options = WatchOptions {
        is_new: true,
        is_mixed: true,
    };
    let mut watch = RunWatch::new(2, options, now);
    for part in 0..2 {
        let summary = CommandSummary {
            status: "Success".to_owned(),
            details: String::new(),
            targets: u64::MAX,
            completed: u64::MAX,
            errors: u64::MAX,
        };
        watch.summary(part, Some(summary), now).unwrap();
    }
    let most = u64::MAX;
    let counts = watch.counts();
    assert_eq!([counts.all, counts.done, counts.failed], [most; 3]);
    assert_eq!(watch.untold(), Some((most, String::new())));
}

#[test]
fn no_list_without_end_is_remembered() {
    for (status, details) in [("Failed", "InvalidPlatform"), ("InProgress", "InProgress")] {
        let service = Service::new(vec![invocation(0, "Success", "")], 1000.0);
        let options = WatchOptions {
            is_new: true,
            is_mixed: true,
        };
        let mut watch = RunWatch::new(1, options, service.now);
        let summary = CommandSummary {
            status: "Success".to_owned(),
            details: String::new(),
            targets: 1,
            completed: 1,
            errors: 0,
        };
        watch.summary(0, Some(summary), service.now).unwrap();
        let mut count = 0;
        let refused = loop {
            watch.pause_until = None;
            assert!(count < 2 * MOST_NODES, "{details}");
            watch.take(
                &Ask::Page {
                    part: 0,
                    next: None,
                },
                service.now,
            );
            let invocations = (count..count + 1000).map(|number| {
                let mut invocation = invocation(number, status, "");
                invocation.details = details.to_owned();
                invocation
            });
            let page = CommandInvocations {
                invocations: invocations.collect(),
                next: Some("next".to_owned()),
            };
            count += 1000;
            if let Err(why) = watch.page(0, page, service.now) {
                break why;
            }
        };
        assert!(refused.contains("more nodes"), "{refused}");
    }
}
