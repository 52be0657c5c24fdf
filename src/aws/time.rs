//! The forms in which AWS writes moments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `20150830T123600Z`, as in the header `X-Amz-Date`.
pub fn compact(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
}

/// `2015-08-30T12:36:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    // The formatter panics beyond the year 9999, and before 1970: a clock that says so is wrong anyway.
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = seconds.min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + seconds).to_string()
}

/// Reads `20150830T123600Z`.
pub fn parse_compact(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if date.len() != 8 || time.len() != 6 || !digits(date) || !digits(time) {
        return None;
    }
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    humantime::parse_rfc3339(&text).ok()
}

/// Reads RFC 3339 in all the ways in which it is in answers and in caches: with fractions, `Z`, `UTC` or an offset.
pub fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let text = text
        .strip_suffix("UTC")
        .map_or_else(|| text.to_owned(), |text| format!("{text}Z"));
    let offset_at = text.rfind(['+', '-']).filter(|at| *at > 10);
    let Some(offset_at) = offset_at else {
        let text = if text.ends_with('Z') {
            text
        } else {
            text + "Z"
        };
        return humantime::parse_rfc3339_weak(&text).ok();
    };
    let (time, offset) = text.split_at_checked(offset_at)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = match offset.split_once(':') {
        Some(parts) => parts,
        None => offset.split_at_checked(2)?,
    };
    // RFC 3339 has two digits each; anything else could stand for any time.
    let number = |text: &str, below: u64| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().ok()?;
        (is_number && number < below).then_some(number)
    };
    let offset = Duration::from_secs(number(hours, 24)? * 3600 + number(minutes, 60)? * 60);
    let time = humantime::parse_rfc3339_weak(&format!("{time}Z")).ok()?;
    match sign {
        "+" => time.checked_sub(offset),
        _ => time.checked_add(offset),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn compact_form() {
        assert_eq!(compact(at(1_440_938_160)), "20150830T123600Z");
        assert_eq!(parse_compact("20150830T123600Z"), Some(at(1_440_938_160)));
        for wrong in [
            "",
            "20150830T123600",
            "2015083T0123600Z",
            "20151330T123600Z",
            "2015é30T123600Z",
        ] {
            assert_eq!(parse_compact(wrong), None, "{wrong}");
        }
        compact(UNIX_EPOCH - Duration::from_secs(1));
        compact(at(u64::from(u32::MAX) * 1000));
    }

    #[test]
    fn every_way_of_writing() {
        let expected = Some(at(1_440_938_160));
        for text in [
            "2015-08-30T12:36:00Z",
            "2015-08-30T12:36:00.000Z",
            "2015-08-30T12:36:00UTC",
            "2015-08-30T12:36:00+00:00",
            "2015-08-30T14:36:00+02:00",
            "2015-08-30T07:06:00-0530",
            "2015-08-30T12:36:00",
            " 2015-08-30 12:36:00Z ",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse("tomorrow"), None);
        assert_eq!(parse("2015-08-30T12:36:00+x"), None);
    }

    #[test]
    fn p93_strange_offsets_are_none() {
        for offset in [
            "+99:00",
            "-24:00",
            "+00:60",
            "+5:00",
            "+05",
            "++5:00",
            "+05:+1",
            "+5124095576030431:00",
            "+18446744073709551615:59",
            "-00:18446744073709551615",
        ] {
            assert_eq!(
                parse(&format!("2015-08-30T12:36:00{offset}")),
                None,
                "{offset}"
            );
        }
        assert_eq!(
            parse("1970-01-01T00:00:00+23:59"),
            UNIX_EPOCH.checked_sub(Duration::from_secs(86_340))
        );
        parse("9999-12-31T23:59:59-23:59").map(rfc3339);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", number in "[-+0-9TZ:.é]{0,30}") {
            parse(&text);
            parse(&number);
            parse_compact(&text);
            parse_compact(&number);
        }

        #[test]
        fn back_and_forth(seconds in 0u64..253_402_300_799) {
            prop_assert_eq!(parse_compact(&compact(at(seconds))), Some(at(seconds)));
        }
    }
}
