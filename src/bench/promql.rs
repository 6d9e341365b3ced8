//! What Prometheus returns for the functions in the peers' documented queries, estimates included.
//!
//! The judge uses none of this: it counts between raw samples.

/// A gap to the window's end is bridged in full if it is at most this many average sample distances.
const BRIDGED: f64 = 1.1;

/// `increase()` over the window `(from, to]` of one counter's samples (seconds, value) in order of time: growth between
/// its first and last sample, restarts added, scaled to the window. A gap at either end beyond 1.1 sample distances
/// counts as half a distance, and the counter is never continued below 0. `None` with fewer than two samples.
pub fn increase(samples: &[(f64, f64)], from: f64, to: f64) -> Option<f64> {
    let inside: Vec<(f64, f64)> = samples.iter().copied().filter(|(at, _)| *at > from && *at <= to).collect();
    let ((first, start), (last, end)) = (*inside.first()?, *inside.last()?);
    let pairs = || inside.iter().zip(inside.iter().skip(1));
    let restarts: f64 = pairs().filter(|(a, b)| b.1 < a.1).map(|(a, _)| a.1).sum();
    let (grown, sampled) = (end - start + restarts, last - first);
    if sampled <= 0.0 {
        return None;
    }
    let distance = sampled / (inside.len() - 1) as f64;
    let bridge = |gap: f64| if gap < distance * BRIDGED { gap } else { distance / 2.0 };
    let before = bridge(first - from);
    let to_zero = if grown > 0.0 && start >= 0.0 { sampled * start / grown } else { f64::INFINITY };
    Some(grown * (sampled + before.min(to_zero) + bridge(to - last)) / sampled)
}

/// `histogram_quantile()` of cumulative `buckets` (upper edge, count) in order, `+Inf` last: linear inside a bucket, the
/// highest finite edge beyond it. `None` without a value in them.
pub fn histogram_quantile(quantile: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let all = buckets.last().filter(|(edge, count)| edge.is_infinite() && *count > 0.0)?.1;
    let rank = quantile * all;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let below = at.checked_sub(1).and_then(|before| buckets.get(before)).copied().unwrap_or((0.0, 0.0));
    let (edge, count) = buckets.get(at).copied()?;
    let inside = count - below.1;
    Some(if edge.is_infinite() || inside <= 0.0 {
        below.0
    } else {
        below.0 + (edge - below.0) * (rank - below.1) / inside
    })
}
