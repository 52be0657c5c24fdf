//! What a session has to bear, in virtual time, with the time of the run without faults beside it (`--nocapture` shows them).

use std::time::Duration;

use sandbox::faults::{After, Bandwidth, Cut, Ending, Faults};
use session_manager_plugin::internals::datachannel::Urgency;

use crate::plan::{Event, Flow, Kind, Plan};
use crate::world::{Outcome, World};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A path of 25 MB/s, and an agent that takes a millisecond for each message that it sends, as the real one does.
fn plan(kind: Kind, rtt: Duration, up: usize, down: usize) -> Plan {
    let mut plan = Plan::clean(kind, rtt, up, down);
    for faults in &mut plan.faults {
        faults.bandwidth = Some(Bandwidth {
            bytes_per_second: 25_000_000,
            burst: 16_384,
        });
    }
    plan.down = Flow {
        pace: ms(1),
        ..Flow::of(down)
    };
    plan
}

fn run(plan: &Plan) -> Outcome {
    World::new(plan.clone(), false).run()
}

fn with(mut plan: Plan, change: impl Fn(&mut Faults)) -> Plan {
    plan.faults.iter_mut().for_each(change);
    plan
}

fn print(what: &str, clean: &Outcome, faulty: &Outcome) {
    let ratio = |faulty: Duration, clean: Duration| faulty.as_secs_f64() / clean.as_secs_f64();
    println!(
        "{what:<44} up {:>6.2} s ({:>5.2} x)  down {:>6.2} s ({:>5.2} x)  sent {} (clean {}), agent resent {}, lost {:?}, widest {}",
        faulty.up.as_secs_f64(),
        ratio(faulty.up, clean.up),
        faulty.down.as_secs_f64(),
        ratio(faulty.down, clean.down),
        faulty.transmissions,
        clean.transmissions,
        faulty.agent_resent,
        faulty.lost,
        faulty.widest,
    );
}

const MEGABYTE: usize = 1_000_000;

/// Both directions at once, each with faults; the times of three seeds.
fn compare(what: &str, rtt: u64, sizes: (usize, usize), change: impl Fn(&mut Faults)) -> f64 {
    let base = plan(Kind::Port, ms(rtt), sizes.0, sizes.1);
    let clean = run(&base);
    let mut worst: f64 = 0.0;
    for seed in 1..=3 {
        let mut faulty = with(base.clone(), &change);
        faulty.seed = seed;
        let outcome = run(&faulty);
        print(&format!("{what}, RTT {rtt} ms"), &clean, &outcome);
        worst = worst.max(outcome.up.as_secs_f64() / clean.up.as_secs_f64());
    }
    worst
}

#[test]
fn one_percent_loss_less_than_doubles_an_upload() {
    for rtt in [0, 40] {
        let worst = compare("1 % loss", rtt, (10 * MEGABYTE, 0), |faults| {
            faults.lose = 0.01;
        });
        assert!(worst < 2.0, "{worst} times the time without faults");
    }
}

/// The agent needs 100 ms for each message that is lost, and for the first of some lost acknowledgements.
#[test]
fn one_percent_loss_about_doubles_a_paced_download() {
    for rtt in [0, 40] {
        let base = plan(Kind::Port, ms(rtt), 0, MEGABYTE);
        let clean = run(&base);
        let faulty = with(base, |faults| faults.lose = 0.01);
        let outcome = run(&faulty);
        print("1 % loss, paced download", &clean, &outcome);
        assert!(outcome.down < clean.down * 5 / 2, "{outcome:?}");
    }
}

#[test]
fn five_percent_loss_reordering_and_duplication_are_survived() {
    for rtt in [0, 40] {
        compare("5 % loss", rtt, (2 * MEGABYTE, 100_000), |faults| {
            faults.lose = 0.05;
        });
        compare("5 % reordered", rtt, (2 * MEGABYTE, 100_000), |faults| {
            faults.reorder = 0.05;
        });
        compare("5 % duplicated", rtt, (2 * MEGABYTE, 100_000), |faults| {
            faults.duplicate = 0.05;
        });
        compare("all at once", rtt, (2 * MEGABYTE, 100_000), |faults| {
            faults.lose = 0.05;
            faults.reorder = 0.05;
            faults.duplicate = 0.05;
            faults.corrupt = 0.01;
        });
        compare("20 % loss", rtt, (200_000, 200_000), |faults| {
            faults.lose = 0.2;
        });
    }
}

#[test]
fn p21_a_drop_in_the_middle_of_a_transfer_loses_nothing() {
    let mut runs = 0;
    for kind in Kind::ALL {
        for rtt in [0, 40, 200] {
            for seed in 0..14 {
                let mut plan = plan(kind, ms(rtt), 300_000, 100_000);
                plan.seed = seed;
                plan.void = seed % 2 == 0;
                // At another place each time, in one direction or the other.
                plan.faults[usize::from(seed % 3 == 0)].cuts = [Cut {
                    after: After::Frames(20 + seed * 11),
                    lose: u32::try_from(seed * 4).unwrap(),
                    ending: Ending::Reset,
                }]
                .into();
                run(&plan);
                runs += 1;
            }
        }
    }
    assert!(runs >= 200, "{runs}");
}

#[test]
fn p20_sixty_closes_during_a_transfer_lose_nothing() {
    for kind in [Kind::Shell, Kind::Port] {
        let mut plan = plan(kind, ms(40), 60 * 1024 * 100, 30_000);
        // Slow enough that the transfer is still going on at the last.
        for faults in &mut plan.faults {
            faults.bandwidth = Some(Bandwidth {
                bytes_per_second: 200_000,
                burst: 16_384,
            });
        }
        let clean = run(&plan);
        plan.events = (1..=60)
            .map(|number| {
                let event = Event::Disconnect {
                    outage: ms(if number % 10 == 0 { 2000 } else { 100 }),
                    void: number % 10 == 0,
                    agent_too: number % 7 == 0,
                };
                (ms(number * 400), event)
            })
            .collect();
        let outcome = run(&plan);
        print("60 closes", &clean, &outcome);
    }
}

#[test]
fn an_outage_of_five_minutes_loses_nothing() {
    for kind in Kind::ALL {
        for rtt in [0, 200] {
            let mut plan = plan(kind, ms(rtt), MEGABYTE, 50_000);
            plan.void = false;
            let clean = run(&plan);
            plan.events = vec![(
                ms(rtt * 3 + if kind == Kind::Silent { 5020 } else { 30 }),
                Event::Disconnect {
                    outage: Duration::from_secs(300),
                    void: false,
                    agent_too: true,
                },
            )];
            let outcome = run(&plan);
            print("outage of 5 minutes", &clean, &outcome);
            assert!(outcome.up < Duration::from_secs(310), "{outcome:?}");
        }
    }
}

/// A download whose acknowledgements alone are more than the way out carries: keystrokes in between do not wait for its end.
#[test]
fn input_does_not_starve_behind_the_acknowledgements_of_a_download() {
    for rtt in [0, 40] {
        let mut plan = plan(Kind::Port, ms(rtt), 20, 5 * MEGABYTE);
        plan.faults[0].bandwidth = Some(Bandwidth {
            bytes_per_second: 100_000,
            burst: 16_384,
        });
        plan.faults[0].queue = 32_768;
        plan.up = Flow {
            payload: 1,
            pace: ms(100),
            urgency: Urgency::Interactive,
            ..plan.up
        };
        let outcome = run(&plan);
        print("keys beside a download", &outcome, &outcome);
        assert!(
            outcome.up < Duration::from_secs(4) && outcome.up < outcome.down / 2,
            "{outcome:?}"
        );
    }
}

/// P73: a destination that stops for a minute. What waits for it is not sent again and again.
#[test]
fn p73_a_destination_that_stops_for_a_minute_goes_on_and_little_is_sent_again() {
    // On a long path the window takes longer to grow to its full size.
    for (rtt, megabytes, after) in [(0, 20, 500), (40, 20, 620), (300, 50, 1800)] {
        let base = plan(Kind::Port, ms(rtt), megabytes * MEGABYTE, 0);
        let clean = run(&base);
        let mut stops = base;
        stops.events = vec![(ms(after), Event::BlockAgent(ms(60_000)))];
        let outcome = run(&stops);
        print(
            &format!("stops for a minute, RTT {rtt} ms"),
            &clean,
            &outcome,
        );
        assert!(outcome.up < clean.up * 2 + ms(70_000), "{outcome:?}");
        // What was in flight, once; and the oldest each few seconds.
        let again = outcome.transmissions - clean.transmissions;
        assert!(again < outcome.widest as u64 + 50, "{again} sent again");
    }
}

/// A burst queues up at the bottleneck long before the path is full: the window must not take that for the path's limit.
#[test]
fn a_long_path_is_filled_and_no_queue_longer_than_the_path() {
    for (rate, rtt) in [(2_000_000, 40), (2_000_000, 300), (500_000, 300)] {
        let mut plan = plan(Kind::Port, ms(rtt), usize::try_from(rate * 8).unwrap(), 0);
        plan.faults[0].bandwidth = Some(Bandwidth {
            bytes_per_second: rate,
            burst: 16_384,
        });
        let outcome = run(&plan);
        print(&format!("{rate} bytes/s, RTT {rtt} ms"), &outcome, &outcome);
        // What the path carries in eight seconds, and their headers, take nine; a window that stops doubling at the first queue takes
        // eleven for the longest path.
        assert!(outcome.up < ms(10_800), "{outcome:?}");
        // Twice the path's own delay, and some.
        let most = rate * (2 * rtt + 50) / 1000 / 1144;
        assert!(outcome.widest as u64 <= most, "{} > {most}", outcome.widest);
    }
}
