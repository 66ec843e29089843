//! Times on the command line and in output: UTC, RFC 3339, milliseconds since the epoch.

use ringlog_types::TimestampMs;

const DAY_MS: i64 = 86_400_000;

/// Reads `2026-11-23`, `2026-11-23T07:30`, `2026-11-23T07:30:15.250Z`, with `+02:00` instead of
/// `Z`, milliseconds since the epoch, or `-90s`, `-15m`, `-2h`, `-7d` before `now_ms`.
pub(crate) fn parse(text: &str, now_ms: TimestampMs) -> Result<TimestampMs, String> {
    let wrong = || {
        format!(
            "{text:?} is no time; write 2026-11-23, 2026-11-23T07:30:15Z, milliseconds since \
             1970, or -2h"
        )
    };
    if let Some(ago) = text.strip_prefix('-') {
        return relative(ago).and_then(|ago| now_ms.checked_sub(ago)).ok_or_else(wrong);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| wrong());
    }
    absolute(text).ok_or_else(wrong)
}

fn relative(text: &str) -> Option<i64> {
    let unit_ms = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS,
        _ => return None,
    };
    let count: i64 = number(&text[..text.len() - 1])?;
    count.checked_mul(unit_ms)
}

/// Digits only: no sign, no blank.
fn number(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn absolute(text: &str) -> Option<TimestampMs> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.split('-');
    let mut field = |least, most| number(parts.next()?).filter(|n| (least..=most).contains(n));
    let (year, month, day) = (field(1970, 9999)?, field(1, 12)?, field(1, 31)?);
    if parts.next().is_some() || day > days_in_month(year, month) {
        return None;
    }
    let (time, shift_ms) = zone(time)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.split(':');
    let mut field = |most| number(parts.next()?).filter(|n| *n <= most);
    let (hour, minute) = (field(23)?, field(59)?);
    let second = if clock.matches(':').count() == 2 { field(60)? } else { 0 };
    if parts.next().is_some() {
        return None;
    }
    number(fraction)?;
    let millis = number(&format!("{fraction:0<3}")[..3])?;
    let clock_ms = ((hour * 60 + minute) * 60 + second) * 1_000 + millis;
    Some(days_from_epoch(year, month, day) * DAY_MS + clock_ms - shift_ms)
}

/// The time without its zone, and how far the zone is ahead of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(place) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at(place);
    let (hours, minutes) = zone[1..].split_once(':')?;
    let ahead =
        (number(hours).filter(|h| *h < 24)? * 60 + number(minutes).filter(|m| *m < 60)?) * 60_000;
    Some((time, if zone.starts_with('-') { -ahead } else { ahead }))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar; years begin in March, so that the leap day is
/// the last one.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// RFC 3339 in UTC with milliseconds; `-` for a record without a time.
pub(crate) fn format(time_ms: TimestampMs) -> String {
    if time_ms < 0 {
        return "-".into();
    }
    let (days, clock_ms) = (time_ms.div_euclid(DAY_MS), time_ms.rem_euclid(DAY_MS));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (second, millis) = (clock_ms / 1_000, clock_ms % 1_000);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> TimestampMs {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as TimestampMs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let now = 1_000_000_000_000;
        for (text, expected) in [
            ("0", 0),
            ("1763884215000", 1_763_884_215_000),
            ("1970-01-01", 0),
            ("2026-11-23", 1_795_392_000_000),
            ("2026-11-23T07:30", 1_795_419_000_000),
            ("2026-11-23T07:30:15Z", 1_795_419_015_000),
            ("2026-11-23 07:30:15.25Z", 1_795_419_015_250),
            ("2026-11-23T07:30:15.2509+02:00", 1_795_411_815_250),
            ("2024-02-29", 1_709_164_800_000),
            ("-90s", now - 90_000),
            ("-2h", now - 7_200_000),
        ] {
            assert_eq!(parse(text, now), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "x",
            "2026-13-01",
            "2026-02-30",
            "2025-02-29",
            "2026-11-23T25:00",
            "-2x",
            "-",
            "1-1-1",
        ] {
            assert!(parse(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for time in [0, 951_782_399_999, 951_868_800_000, 1_795_419_015_250, 4_107_542_399_000] {
            assert_eq!(parse(&format(time), 0), Ok(time), "{}", format(time));
        }
        assert_eq!(format(1_795_419_015_250), "2026-11-23T07:30:15.250Z");
        assert_eq!(format(-1), "-");
    }
}
