//! `${NAME}` in a string: the value of an environment variable.

/// The environment of this process, as a configuration sees it.
///
/// systemd sets `CREDENTIALS_DIRECTORY` for a service alone. Where a person runs a command by hand with the
/// service's configuration it stands for the folder that systemd takes credentials from
/// (systemd.exec(5), `LoadCredential=` without a path), so that `status` and `check` work there.
pub fn of_process(name: &str) -> Option<String> {
    const CREDENTIALS: (&str, &str) = ("CREDENTIALS_DIRECTORY", "/etc/credstore");
    let value = std::env::var(name).ok();
    value.or_else(|| (name == CREDENTIALS.0).then(|| CREDENTIALS.1.into()))
}

/// Replaces every `${NAME}`; `$${` stands for a literal `${`.
///
/// What a variable holds is not looked at again, so a `${` in it stays as it is.
/// The error says what is wrong with which variable, never what one holds.
pub fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, tail) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = tail;
            continue;
        }
        let name = tail.split('}').next().unwrap_or_default();
        if name.len() == tail.len() {
            return Err("`${` without a closing `}`; write `$${` for a literal `${`".to_owned());
        }
        if !is_name(name) {
            return Err(format!(
                "`${{{name}}}` is not the name of an environment variable; \
                 write `$${{` for a literal `${{`"
            ));
        }
        let value = env(name).ok_or_else(|| {
            format!(
                "the environment variable {name} is not set (or is not UTF-8); \
                 set it, or write `$${{` for a literal `${{`"
            )
        })?;
        out.push_str(before);
        out.push_str(&value);
        rest = &tail[name.len() + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn with(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "HOST" => Some("example.org".to_owned()),
            "ODD" => Some("${HOST}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn replaces_variables() {
        assert_eq!(
            with("a ${HOST}/${HOST}?").unwrap(),
            "a example.org/example.org?"
        );
        assert_eq!(with("${EMPTY}").unwrap(), "");
        assert_eq!(with("é${HOST}é").unwrap(), "éexample.orgé");
    }

    #[test]
    fn looks_only_once() {
        assert_eq!(with("${ODD}").unwrap(), "${HOST}");
    }

    #[test]
    fn leaves_other_dollars_alone() {
        assert_eq!(with("~$* $HOST {path} $").unwrap(), "~$* $HOST {path} $");
        assert_eq!(with("$${HOST} $$${HOST}").unwrap(), "${HOST} $${HOST}");
    }

    #[test]
    fn names_what_is_wrong() {
        assert!(
            with("${NOT_THERE}")
                .unwrap_err()
                .contains("variable NOT_THERE is not set")
        );
        assert!(with("${HOST").unwrap_err().contains("without a closing"));
        assert!(with("${}").unwrap_err().contains("is not the name"));
        assert!(with("${a-b}").unwrap_err().contains("`${a-b}`"));
    }
}
