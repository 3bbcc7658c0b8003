//! Whether what lies somewhere is what was sent.

use super::super::disk::{Copied, Fault};
use super::super::ops::may_be_same_inode;
use super::super::{Area, Move, Place};
use super::{Machine, READINGS};
use crate::flow::file::{Entry, Look};

impl Machine {
    /// Whether a look shows the version of this filing, as far as looks can tell.
    pub(super) fn is_version(&self, look: &Look) -> bool {
        look.stamp == self.job.look.stamp && may_be_same_inode(look, &self.job.look)
    }

    /// Before the move. Another stamp is another version. Another inode, ctime or number of
    /// blocks may be: then the bytes decide.
    pub(super) async fn is_sent_in_place(&self, look: &Look) -> Result<bool, Fault> {
        let sent = &self.job.look;
        if look.stamp != sent.stamp {
            return Ok(false);
        }
        match self.job.sha256 {
            _ if look.is_unmoved(sent) => Ok(true),
            Some(sha256) => self.has_bytes(&self.place(), look, sha256).await,
            // After a restart nothing more is known of what was sent.
            None => Ok(may_be_same_inode(look, sent)),
        }
    }

    /// After the move, which moves the ctime. A server may set the mtime at a late close, and
    /// inode numbers do not last everywhere: then the bytes decide.
    pub(super) async fn is_sent_behind(&self, look: &Look, at: &Place) -> Result<bool, Fault> {
        let sent = self.at_place.as_ref().unwrap_or(&self.job.look);
        if look.stamp.size != sent.stamp.size {
            return Ok(false);
        }
        if look.stamp == sent.stamp && may_be_same_inode(look, sent) {
            return Ok(true);
        }
        match self.job.sha256 {
            Some(sha256) => Ok(self.ops.digest(at).await? == sha256),
            None => Ok(look.stamp == sent.stamp),
        }
    }

    pub(super) async fn is_sent_original(&self, look: &Look, from: &Place) -> Result<bool, Fault> {
        if from.area == Area::Watched {
            self.is_sent_in_place(look).await
        } else {
            self.is_sent_behind(look, from).await
        }
    }

    pub(super) fn is_sent_copy(&self, copied: &Copied) -> bool {
        match self.job.sha256 {
            Some(sha256) => copied.sha256 == sha256,
            None => copied.of.stamp == self.job.look.stamp,
        }
    }

    /// Whether what has the name of the copy is the copy. Its stamp may differ where the file
    /// system keeps coarser times, and what was copied may be a new version; then the bytes
    /// decide.
    pub(super) async fn is_copy(
        &self,
        copy: &Look,
        original: &Look,
        moving: &Move,
    ) -> Result<bool, Fault> {
        if copy.stamp == self.job.look.stamp {
            return Ok(true);
        }
        let Some(from) = moving.copy_of.as_ref() else {
            return Ok(false);
        };
        Ok(copy.stamp.size == original.stamp.size
            && self.ops.digest(&moving.to).await? == self.ops.digest(from).await?)
    }

    /// Whether what is to be removed is still what was copied. What has been touched since it was
    /// read may hold something else under an equal stamp, and after a restart it may be a new file:
    /// the bytes decide.
    pub(super) async fn is_original_of(
        &self,
        look: &Look,
        from: &Place,
        to: &Place,
    ) -> Result<bool, Fault> {
        if !self.is_sent_original(look, from).await? {
            return Ok(false);
        }
        if from.area != Area::Watched || look.is_unmoved(&self.job.look) {
            return Ok(true);
        }
        let copied = self.ops.digest(to).await?;
        self.has_bytes(from, look, copied).await
    }

    /// Whether the bytes of the file at `at`, which was looked at just now, are those of `sha256`.
    /// They are read again if it is touched meanwhile, three times at most: something that goes on
    /// touching it without changing it must not keep it for ever.
    pub(super) async fn has_bytes(
        &self,
        at: &Place,
        look: &Look,
        sha256: [u8; 32],
    ) -> Result<bool, Fault> {
        let mut before = *look;
        for _ in 0..READINGS {
            if self.ops.digest(at).await? != sha256 {
                return Ok(false);
            }
            match self.ops.look(at).await? {
                Entry::File(now) if now.is_unmoved(&before) => return Ok(true),
                Entry::File(now) if now.stamp == look.stamp => before = now,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether a file that took its time to be read is still what it was before.
    pub(super) async fn is_as_it_was(&self, look: &Look, at: &Place) -> Result<bool, Fault> {
        let now = self.ops.look(at).await?.file();
        Ok(now.is_some_and(|now| now.is_unmoved(look)))
    }
}
