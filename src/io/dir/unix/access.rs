//! Who may do what with a file or a folder: its mode, and its POSIX access list where there is
//! one (acl(5)). A pure value, so that "no wider than" can be computed, and tried out in full.
//!
//! Rights are the three bits of a mode: 4 to read, 2 to write, 1 to execute or to search.

use std::collections::BTreeMap;

/// All that can be done with a file but executing it.
pub(super) const READ_AND_WRITE: u8 = 6;

/// The rights to a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// The user who owns it.
    pub owner: u32,
    /// The group it belongs to.
    pub group: u32,
    pub owner_bits: u8,
    /// Of the group alone; in the mode of a file with an access list, the mask stands there.
    pub group_bits: u8,
    pub other_bits: u8,
    /// What the group and the named entries have at most; `None` without an access list.
    pub mask: Option<u8>,
    pub named: Vec<Named>,
}

/// A named entry of an access list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub who: Who,
    pub bits: u8,
}

/// Whom an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    User(u32),
    Group(u32),
}

impl Access {
    /// The rights by a mode alone.
    pub fn from_mode(owner: u32, group: u32, mode: u32) -> Access {
        let bits = |shift: u32| (mode >> shift & 7) as u8;
        Access {
            owner,
            group,
            owner_bits: bits(6),
            group_bits: bits(3),
            other_bits: bits(0),
            mask: None,
            named: Vec::new(),
        }
    }

    /// The mode that shows these rights: where there is an access list, its mask stands for the
    /// group.
    pub fn mode(&self) -> u32 {
        let group = self.mask.unwrap_or(self.group_bits);
        u32::from(self.owner_bits) << 6 | u32::from(group) << 3 | u32::from(self.other_bits)
    }

    fn masked(&self, bits: u8) -> u8 {
        bits & self.mask.unwrap_or(7)
    }

    /// What the group has in effect.
    pub fn group_rights(&self) -> u8 {
        self.masked(self.group_bits)
    }

    /// What every named entry that `counts` has in effect.
    fn all_named(&self, counts: impl Fn(Who) -> bool) -> u8 {
        let named = self.named.iter().filter(|entry| counts(entry.who));
        named.fold(7, |all, entry| all & self.masked(entry.bits))
    }

    /// What is left of these rights where owner and group may have been changed to `owner` and
    /// `group`, and nobody else is to gain by it.
    ///
    /// The rights of a new owner, which is dirpost's own user, stay those of the former one. Those
    /// of a new group are no more than what everybody had; and as the members of the former group
    /// are others now, others get no more than these had.
    pub fn owned_by(&self, owner: u32, group: u32) -> Access {
        let mut left = self.clone();
        left.owner = owner;
        left.group = group;
        if group != self.group {
            left.other_bits &= self.group_rights();
            left.group_bits = left.other_bits & self.all_named(|who| matches!(who, Who::Group(_)));
        }
        left
    }

    /// What is left of these rights where there are no access lists, and nobody is to gain by it:
    /// who was named is one of the group or of the others now.
    pub fn without_list(&self) -> Access {
        let named = self.all_named(|_| true);
        Access {
            group_bits: self.group_rights() & named,
            other_bits: self.other_bits & named,
            mask: None,
            named: Vec::new(),
            ..self.clone()
        }
    }

    /// These rights without the one to execute the file.
    pub fn without_execute(mut self) -> Access {
        let named = self.named.iter_mut().map(|entry| &mut entry.bits);
        named
            .chain([&mut self.owner_bits, &mut self.group_bits])
            .chain([&mut self.other_bits])
            .chain(&mut self.mask)
            .for_each(|bits| *bits &= READ_AND_WRITE);
        self
    }

    /// Whether this gives anybody more than `limit` does, whatever groups he is in. Those in
    /// `trusted` are not looked at, and neither is the owner of what `limit` is about, who could
    /// give himself any right.
    pub fn is_wider_than(&self, limit: &Access, trusted: &[u32]) -> bool {
        let (mine, allowed) = (self.by_groups(), limit.by_groups());
        // Most are named by neither, and their groups alone decide. Of those whom only one of the
        // two names, the best groups decide here, or the worst there.
        let gains = |user| {
            let most = self.of_user(user).unwrap_or_else(|| mine.most());
            let least = limit.of_user(user).unwrap_or_else(|| allowed.least());
            most & !least != 0
        };
        mine.is_wider_than(&allowed)
            || [self, limit]
                .into_iter()
                .flat_map(Access::users)
                .filter(|user| *user != limit.owner && !trusted.contains(user))
                .any(gains)
    }

    /// The entries that count. Linux does not look at an access list with an empty mask
    /// (acl_permission_check in fs/namei.c): who is named there is one of the others.
    fn in_effect(&self) -> &[Named] {
        if self.mask == Some(0) {
            &[]
        } else {
            &self.named
        }
    }

    /// The owner, and who is named.
    fn users(&self) -> impl Iterator<Item = u32> {
        let named = self.in_effect().iter().filter_map(|entry| match entry.who {
            Who::User(user) => Some(user),
            Who::Group(_) => None,
        });
        named.chain([self.owner])
    }

    /// The rights of a user by an entry of his own, which decides alone; the owner's comes first
    /// (acl(5), "access check algorithm").
    fn of_user(&self, user: u32) -> Option<u8> {
        if user == self.owner {
            return Some(self.owner_bits);
        }
        let entry = self
            .in_effect()
            .iter()
            .find(|entry| entry.who == Who::User(user))?;
        Some(self.masked(entry.bits))
    }

    /// The rights of everybody else.
    fn by_groups(&self) -> ByGroups {
        let mut groups = BTreeMap::from([(self.group, self.group_rights())]);
        for entry in self.in_effect() {
            if let Who::Group(group) = entry.who {
                *groups.entry(group).or_default() |= self.masked(entry.bits);
            }
        }
        ByGroups {
            groups,
            others: self.other_bits,
        }
    }
}

/// The rights of those who have no entry of their own: who is in one or more of these groups has
/// each right that any of them has (acl(5)), who is in none those of the others.
struct ByGroups {
    groups: BTreeMap<u32, u8>,
    others: u8,
}

impl ByGroups {
    /// What somebody may have at most, by the best of groups.
    fn most(&self) -> u8 {
        self.groups
            .values()
            .fold(self.others, |all, bits| all | bits)
    }

    /// What somebody has at least, by the worst of groups.
    fn least(&self) -> u8 {
        self.groups
            .values()
            .fold(self.others, |all, bits| all & bits)
    }

    /// Whether there are groups whose members this gives more than `limit` does. Who has a right
    /// here by one group may be kept from it there by another.
    fn is_wider_than(&self, limit: &ByGroups) -> bool {
        let by_a_group = self.groups.iter().any(|(group, bits)| {
            let allowed = limit.groups.get(group).copied();
            bits & !allowed.unwrap_or_else(|| limit.least()) != 0
        });
        let unknown_here = limit
            .groups
            .iter()
            .filter(|(group, _)| !self.groups.contains_key(group));
        let allowed = unknown_here.fold(limit.others, |all, (_, bits)| all & bits);
        by_a_group || self.others & !allowed != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::rng::Rng;

    /// Users 1 to 4 and groups 1 to 4, so that the same ones meet often.
    fn draw(rng: &mut Rng) -> Access {
        let bits = |rng: &mut Rng| rng.below(8) as u8;
        let mut access = Access {
            owner: 1 + rng.below(4) as u32,
            group: 1 + rng.below(4) as u32,
            owner_bits: bits(rng),
            group_bits: bits(rng),
            other_bits: bits(rng),
            mask: None,
            named: Vec::new(),
        };
        if rng.below(2) == 0 {
            access.mask = Some(bits(rng));
            for number in 1..=4 {
                for who in [Who::User(number), Who::Group(number)] {
                    if rng.below(3) == 0 {
                        let bits = bits(rng);
                        access.named.push(Named { who, bits });
                    }
                }
            }
        }
        access
    }

    /// The access check of acl(5), step by step.
    fn rights(access: &Access, user: u32, member_of: &[u32]) -> u8 {
        if user == access.owner {
            return access.owner_bits;
        }
        let mask = access.mask.unwrap_or(7);
        let named: &[Named] = if mask == 0 { &[] } else { &access.named };
        for entry in named {
            if entry.who == Who::User(user) {
                return entry.bits & mask;
            }
        }
        let mut by_groups = None;
        if member_of.contains(&access.group) {
            by_groups = Some(access.group_bits & mask);
        }
        for entry in named {
            if matches!(entry.who, Who::Group(group) if member_of.contains(&group)) {
                by_groups = Some(by_groups.unwrap_or(0) | entry.bits & mask);
            }
        }
        by_groups.unwrap_or(access.other_bits)
    }

    /// Tries every user in every set of groups; 5 and 9 are named nowhere.
    fn is_wider_by_trying(access: &Access, limit: &Access, trusted: &[u32]) -> bool {
        (1..=5_u32)
            .filter(|user| *user != limit.owner && !trusted.contains(user))
            .any(|user| {
                (0..32_u32).any(|set| {
                    let member_of: Vec<u32> = [1, 2, 3, 4, 9]
                        .into_iter()
                        .enumerate()
                        .filter_map(|(at, group)| (set >> at & 1 == 1).then_some(group))
                        .collect();
                    rights(access, user, &member_of) & !rights(limit, user, &member_of) != 0
                })
            })
    }

    #[test]
    fn wider_is_what_gives_anybody_in_any_groups_more() {
        let mut rng = Rng::new(1);
        let mut wider = 0;
        for _ in 0..20_000 {
            // Equal ones, and ones that differ a little, must be met as well.
            let limit = draw(&mut rng);
            let mut access = if rng.below(2) == 0 {
                draw(&mut rng)
            } else {
                limit.clone()
            };
            match rng.below(6) {
                0 => access.group_bits &= rng.below(8) as u8,
                1 => access.other_bits |= rng.below(8) as u8,
                2 => drop(access.named.pop()),
                3 => access.group = 1 + rng.below(4) as u32,
                _ => {}
            }
            let trusted = [1 + rng.below(4) as u32];
            let expected = is_wider_by_trying(&access, &limit, &trusted);
            wider += usize::from(expected);
            assert_eq!(
                access.is_wider_than(&limit, &trusted),
                expected,
                "{access:?}\n{limit:?}\n{trusted:?}"
            );
        }
        assert!(
            (2_000..18_000).contains(&wider),
            "{wider} of 20000 were wider"
        );
    }

    #[test]
    fn nobody_gains_by_an_owner_a_group_or_a_list_that_cannot_be_kept() {
        let mut rng = Rng::new(2);
        for _ in 0..20_000 {
            let source = draw(&mut rng);
            let own = 1 + rng.below(4) as u32;
            let (owner, group) = match rng.below(4) {
                0 => (source.owner, source.group),
                1 => (own, source.group),
                2 => (source.owner, own),
                _ => (own, own),
            };
            let left = source.owned_by(owner, group);
            for left in [left.clone(), left.without_list(), source.without_list()] {
                assert!(
                    !is_wider_by_trying(&left, &source, &[owner]),
                    "{source:?}\n{left:?}"
                );
            }
        }
    }

    #[test]
    fn what_can_be_kept_is_kept() {
        let mut rng = Rng::new(3);
        for _ in 0..1_000 {
            let source = draw(&mut rng);
            assert_eq!(source.owned_by(source.owner, source.group), source);
            let plain = source.without_list();
            assert_eq!(plain.without_list(), plain);
        }
    }

    #[test]
    fn the_group_of_a_copy_that_cannot_keep_it_has_no_more_than_others() {
        for (mode, left) in [
            (0o640, 0o600),
            (0o664, 0o644),
            (0o660, 0o600),
            (0o644, 0o644),
            // The members of a group that was kept out are others now.
            (0o604, 0o600),
        ] {
            let copy = Access::from_mode(1, 1, mode).owned_by(2, 2);
            assert_eq!(
                format!("{:o}", copy.mode()),
                format!("{left:o}"),
                "{mode:o}"
            );
        }
    }
}
