/// The known word that a misspelt one was most likely meant to be; `None` if none is near.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let near = known.into_iter().map(|candidate| (distance(&word, candidate), candidate));
    let limit = (word.chars().count() / 3).max(1);
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added, left out or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (line, letter) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let changed = at(&row, column) + usize::from(letter != *other);
            let mut best = changed.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let swapped = column > 0 && previous == Some(*other) && to.get(column - 1) == Some(&letter);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        previous = Some(letter);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["tls_disable", "tls_cert_file", "address", "ui"];
        assert_eq!(nearest("tls_disabled", known), Some("tls_disable"));
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("tls_crt_file", known), Some("tls_cert_file"));
        assert_eq!(nearest("iu", known), Some("ui"));
        assert_eq!(nearest("ADDRESS", known), Some("address"));
        assert_eq!(nearest("storage", known), None);
    }
}
