//! What Kubernetes does by itself: pods of the StatefulSet start and stop, volumes are made and go.

use super::{Disk, World};
use k8s_openapi::api::apps::v1::StatefulSetStatus;
use std::rc::Rc;

/// What Kubernetes may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan::model) enum Due {
    Stop(u32),
    Start(u32),
    Free(u32),
}

impl World {
    /// Everything that the StatefulSet controller and the volumes' controller have to do now.
    pub(in crate::plan::model) fn kubernetes(&mut self) {
        while let Some(due) = self.due().into_iter().next() {
            self.kubernetes_does(due);
        }
        if let Some(set) = self.set.as_mut().filter(|set| set.status.is_none()).map(Rc::make_mut) {
            set.metadata.generation = Some(1);
            set.status = Some(StatefulSetStatus {
                observed_generation: Some(1),
                update_revision: Some("new".to_owned()),
                ..StatefulSetStatus::default()
            });
        }
    }

    /// What Kubernetes may do next: pods that stop, pods that start, volumes that go.
    pub(in crate::plan::model) fn due(&self) -> Vec<Due> {
        let wanted = self.size();
        let stop =
            self.running.iter().filter(|ordinal| **ordinal >= wanted).map(|ordinal| Due::Stop(*ordinal));
        let free = |ordinal: &u32| !self.disks.get(ordinal).is_some_and(|disk| disk.going);
        let start =
            (0..wanted).filter(|ordinal| !self.running.contains(ordinal)).filter(free).map(Due::Start);
        let going = self.disks.iter().filter(|(ordinal, disk)| disk.going && !self.running.contains(ordinal));
        stop.chain(start).chain(going.map(|(ordinal, _)| Due::Free(*ordinal))).collect()
    }

    pub(in crate::plan::model) fn kubernetes_does(&mut self, due: Due) {
        match due {
            Due::Stop(ordinal) => drop(self.running.remove(&ordinal)),
            Due::Free(ordinal) => drop(self.disks.remove(&ordinal)),
            Due::Start(ordinal) => {
                if !self.disks.contains_key(&ordinal) {
                    self.disks_made += 1;
                    let (claim, store) =
                        (format!("claim-{}", self.disks_made), format!("disk-{}", self.disks_made));
                    self.disks.insert(ordinal, Disk { claim, store, identity: None, going: false });
                }
                self.running.insert(ordinal);
            }
        }
    }
}
