//! A group under random requests.

use super::*;

#[test]
fn a_group_under_random_requests_keeps_its_invariants() {
    for seed in 0..300_u64 {
        let mut world = World::new(GroupSettings { group_max_size: 4, ..Default::default() });
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut ids: Vec<String> = vec!["nobody".into()];
        let mut owed = Vec::new();
        for _ in 0..200 {
            let id = ids[next(ids.len() as u64) as usize].clone();
            let generation = next(6) as i32;
            world.holds = next(3) == 0;
            match next(8) {
                0 | 1 => {
                    let version = 3 + next(2) as i16;
                    let instance = ["i", "j"][next(2) as usize];
                    let instance = (next(3) == 0).then_some(instance);
                    let member = if next(2) == 0 { "" } else { &id };
                    owed.push(world.join(&join(member, instance), version));
                }
                2 | 3 => {
                    owed.push(world.sync(&id, generation, &[(&id, b"part")]));
                }
                4 => drop(world.heartbeat(&id, generation)),
                5 => {
                    let _ = world.commit_offset(&id, generation, next(100) as i64);
                }
                6 => {
                    let leaving = [LeavingMember { member_id: &id, instance_id: None }];
                    let outcome = world.groups.leave("g", &leaving, world.now);
                    let _ = world.done(outcome);
                }
                _ => world.pass(next(20_000)),
            }
            if next(2) == 0 {
                let failed = next(5) == 0;
                world.commit(if failed { Err(ErrorCode::NotCoordinator) } else { Ok(()) });
            }
            for answer in world.answers.values() {
                if let Deferred::Join(answer) = answer
                    && !answer.member_id.is_empty()
                {
                    ids.push(answer.member_id.to_string());
                }
            }
            ids.dedup();
        }
        // Everyone is answered in the end, though all fall silent.
        world.holds = false;
        world.commit(Ok(()));
        world.pass(20 * REBALANCE_MS);
        assert!(["Empty", "Dead"].contains(&&*world.state()), "seed {seed}: {}", world.state());
        let lost = owed.iter().find(|to| !world.answers.contains_key(to));
        assert_eq!(lost, None, "seed {seed}: a request was never answered");
        // What the log says is what was decided.
        let (offsets, state) = (world.groups.offset_count(), world.committed());
        world.restart();
        assert_eq!((world.groups.offset_count(), world.committed()), (offsets, state));
    }
}
