//! The file of credentials that AWS's own tools have: profiles with keys in them.
//!
//! By "Configuration and credential file settings" in the user guide of the AWS CLI. Profiles that
//! refer to others (roles, single sign-on, commands) are not followed: what makes such credentials
//! can write them into this file, which is read again when it changes.

use super::signature::Keys;

/// The keys of `profile`.
///
/// # Errors
/// What is wrong with the text, without anything that stands in it.
pub(super) fn read(text: &str, profile: &str) -> Result<Keys, String> {
    let (mut id, mut secret, mut token) = (None, None, None);
    let (mut is_there, mut is_within) = (false, false);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map(|(name, _)| name.trim())
        {
            // As the file of settings has it.
            let name = name.strip_prefix("profile ").map_or(name, str::trim);
            is_within = name == profile;
            is_there |= is_within;
            continue;
        }
        if !is_within || line.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match key.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    if !is_there {
        return Err(format!(
            "has no profile [{profile}]: add it, or set send.auth.aws_profile to one that is there"
        ));
    }
    let lacks = |key: &str| format!("has no {key} in the profile [{profile}]");
    Ok(Keys {
        id: id.ok_or_else(|| lacks("aws_access_key_id"))?,
        secret: secret.ok_or_else(|| lacks("aws_secret_access_key"))?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# of the plant\n[default]\naws_access_key_id = AKID1\n\
        aws_secret_access_key=s3cret/+1\n\n[profile plant 7]\r\nAWS_ACCESS_KEY_ID = AKID2\r\n\
        ; aws_session_token = old\n aws_secret_access_key = with = sign \naws_session_token = tok==\n\
        region = eu-central-1\n[half]\naws_access_key_id = AKID3\naws_secret_access_key =\n";

    #[test]
    fn the_keys_of_a_profile_are_read() {
        let default = read(FILE, "default").unwrap();
        assert_eq!((&*default.id, &*default.secret), ("AKID1", "s3cret/+1"));
        assert_eq!(default.token, None);
        let plant = read(FILE, "plant 7").unwrap();
        assert_eq!((&*plant.id, &*plant.secret), ("AKID2", "with = sign"));
        assert_eq!(plant.token.as_deref(), Some("tok=="));
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else_that_stands_there() {
        for (text, profile, says) in [
            (FILE, "plant", "has no profile [plant]"),
            (
                FILE,
                "half",
                "has no aws_secret_access_key in the profile [half]",
            ),
            ("", "default", "has no profile [default]"),
            ("aws_access_key_id = x", "default", "has no profile"),
            ("[default]", "default", "has no aws_access_key_id"),
        ] {
            let said = read(text, profile).err().unwrap();
            assert!(said.contains(says), "{said}");
            assert!(!said.contains("AKID") && !said.contains("s3cret"), "{said}");
        }
    }
}
