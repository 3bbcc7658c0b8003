//! `delivered.remove_emptied`.

mod slow {
    use std::time::Duration;

    use crate::util::{Daemon, Dir, Server, config, once, wait_until};

    /// Two folders in one another go one after the other, a minute each.
    const LONG: Duration = Duration::from_secs(300);

    #[test]
    #[ignore = "slow: a folder is left alone for a minute, and the one above it for another"]
    fn a_folder_that_was_emptied_goes_after_a_minute_and_what_was_found_empty_stays() {
        let (dir, server) = (Dir::new(), Server::accepting());
        for name in ["a/b/x.csv", "keeps/y.csv", "hides/z.csv", "root.csv"] {
            dir.write(name, "x");
        }
        for folder in ["found", "keeps/found"] {
            dir.mkdir(folder);
        }
        dir.write("hides/.hidden", "its writer's own");
        let text = config(
            dir.path(),
            &server.url(),
            "delivered.remove_emptied = true\nwatch.interval = \"200ms\"",
        );
        let daemon = Daemon::start(&text);
        wait_until("a/b to go, and a after it", LONG, || !dir.exists("a"));
        for stays in [
            "found",
            "keeps/found",
            "hides/.hidden",
            ".dirpost/done/a/b/x.csv",
        ] {
            assert!(dir.exists(stays), "{stays}");
        }
        drop(daemon);
        // A run for cron begins where the one before has ended.
        dir.write("c/x.csv", "x");
        assert_eq!(once(&text, &[]).status.code(), Some(0));
        assert!(dir.exists("c"));
        wait_until("a later run to remove c", LONG, || {
            assert_eq!(once(&text, &[]).status.code(), Some(0));
            !dir.exists("c")
        });
        assert!(dir.exists("found") && dir.exists("keeps/found"));
    }
}
