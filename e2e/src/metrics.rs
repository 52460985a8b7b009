//! Numbers out of the text format of Prometheus.

/// All series of `name`, added up.
pub fn sum(text: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_labels_are_added_and_longer_names_are_not() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"}\"} 3.5\na_total 9\n";
        assert_eq!(sum(text, "a"), 5.5);
        assert_eq!(sum(text, "a_total"), 9.0);
        assert_eq!(sum(text, "b"), 0.0);
    }
}
