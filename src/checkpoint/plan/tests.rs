//! Plans for small models, the known faults of accelerate, and what every plan promises.

use super::*;
use crate::error::Explain;
use proptest::prelude::*;

/// Devices from `name=limit`; without a limit there is none.
fn devices(text: &str) -> Vec<DeviceLimit> {
    let device = |word: &str| {
        let (name, limit) = word
            .split_once('=')
            .map_or((word, None), |(a, b)| (a, Some(b)));
        let kind = match name {
            "cpu" => DeviceKind::Cpu,
            "disk" => DeviceKind::Disk,
            _ => DeviceKind::Main,
        };
        DeviceLimit {
            name: name.into(),
            limit: limit.map(|limit| limit.parse().unwrap()),
            kind,
        }
    };
    text.split_whitespace().map(device).collect()
}

/// Items from `name=bytes`.
fn items(text: &str) -> Vec<PlanItem<'_>> {
    let item = |word| {
        let (name, bytes) = str::split_once(word, '=').unwrap();
        PlanItem {
            name,
            bytes: bytes.parse().unwrap(),
        }
    };
    text.split_whitespace().map(item).collect()
}

fn names<'a>(items: &[PlanItem<'a>]) -> Vec<&'a str> {
    items.iter().map(|item| item.name).collect()
}

/// The collapsed plan as `prefix=device` words, in the order of the strings.
fn map(items_text: &str, map: &DeviceMap, devices_text: &str) -> String {
    let items = items(items_text);
    let plan = plan_devices(&items, map, &devices(devices_text)).unwrap();
    let map = collapse(&plan, &names(&items)).into_iter();
    map.map(|(prefix, device)| format!("{prefix}={device}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn bytes_of(plan: &Plan) -> Vec<u64> {
    plan.devices.iter().map(|device| device.bytes).collect()
}

/// `count` blocks of 8 + 2 bytes.
fn blocks(count: usize) -> String {
    (0..count)
        .map(|i| format!("h.{i}.a.w=8 h.{i}.n.w=2 "))
        .collect()
}

use DeviceMap::{Auto, Sequential};

#[test]
fn what_fits_on_the_first_device_stays_there_without_a_reserve() {
    let blocks = blocks(3);
    let plan = plan_devices(&items(&blocks), &Auto, &devices("cuda:0=30 cpu disk")).unwrap();
    assert_eq!(bytes_of(&plan), [30, 0, 0]);
    assert_eq!(plan.devices[0].reserved, 0);
    assert_eq!(map(&blocks, &Auto, "cuda:0=30 cpu disk"), "=cuda:0");
}

#[test]
fn room_for_the_largest_block_is_kept_once_something_is_offloaded() {
    let blocks = blocks(4);
    let plan = plan_devices(&items(&blocks), &Auto, &devices("cuda:0=35 cpu disk")).unwrap();
    assert_eq!(bytes_of(&plan), [20, 20, 0]);
    assert_eq!(plan.devices[0].reserved, 10);
    assert_eq!(
        map(&blocks, &Auto, "cuda:0=35 cpu=15 disk"),
        "h.0=cuda:0 h.1=cuda:0 h.2=cpu h.3=disk"
    );
}

#[test]
fn no_room_is_kept_where_it_would_make_the_checkpoint_not_fit() {
    let plan = plan_devices(&items(&blocks(4)), &Auto, &devices("cuda:0=30 cpu=10")).unwrap();
    assert_eq!(bytes_of(&plan), [30, 10]);
    assert_eq!(plan.devices[0].reserved, 0);
}

#[test]
fn layers_are_placed_in_the_order_of_their_numbers() {
    let twelve = blocks(12);
    let found = map(&twelve, &Sequential, "a=100 b=100");
    assert!(
        found.ends_with("h.10=b h.11=b h.2=a h.3=a h.4=a h.5=a h.6=a h.7=a h.8=a h.9=a"),
        "{found}"
    );
}

#[test]
fn a_block_is_not_taken_apart_while_a_device_ahead_holds_it() {
    assert_eq!(map(&blocks(2), &Sequential, "a=18 b=10"), "h.0=a h.1=b");
    assert_eq!(map(&blocks(1), &Sequential, "a=8 b=10"), "=b");
}

#[test]
fn a_block_that_fits_nowhere_is_taken_apart_into_its_modules() {
    assert_eq!(map(&blocks(1), &Sequential, "a=8 b=9"), "h.0.a=a h.0.n=b");
    // It would have fitted on the first device, but that one is no longer empty.
    assert_eq!(
        map(&blocks(2), &Sequential, "a=18 b=2"),
        "h.0=a h.1.a=a h.1.n=b"
    );
}

#[test]
fn weight_and_bias_stay_together_unless_they_fit_nowhere() {
    let leaf = "embed.w=4 proj.weight=8 proj.bias=2";
    assert_eq!(map(leaf, &Sequential, "a=8 b=10"), "embed=a proj=b");
    assert_eq!(
        map(leaf, &Sequential, "a=6 b=8"),
        "embed=a proj.bias=a proj.weight=b"
    );
}

#[test]
fn the_walk_never_returns_to_an_earlier_device() {
    assert_eq!(
        map("a.w=5 b.w=7 c.w=1", &Sequential, "x=9 y=20"),
        "a=x b=y c=y"
    );
}

#[test]
fn experts_are_blocks_of_their_own_once_their_layer_is_taken_apart() {
    let layer = "h.0.experts.0.u.w=4 h.0.experts.0.d.w=4 h.0.experts.1.u.w=4 h.0.experts.1.d.w=4";
    assert_eq!(
        map(layer, &Sequential, "a=15 b=15"),
        "h.0.experts.0=a h.0.experts.1=b"
    );
}

#[test]
fn a_model_whose_names_begin_with_a_number_is_not_one_block() {
    let model: String = (0..4).map(|i| format!("0.h.{i}.w.w=10 ")).collect();
    let found = map(&model, &Auto, "cuda:0=30 cpu disk");
    assert_eq!(found, "0.h.0=cuda:0 0.h.1=cuda:0 0.h.2=cpu 0.h.3=cpu");
}

#[test]
fn auto_balances_over_the_main_devices_and_sequential_does_not() {
    let blocks = blocks(12);
    let of = |map| {
        bytes_of(&plan_devices(&items(&blocks), map, &devices("a=200 b=200 c=200 cpu")).unwrap())
    };
    // 120 / 3 + 1.25 * 10 = 52 for all but the last.
    assert_eq!(of(&Auto), [50, 50, 20, 0]);
    assert_eq!(of(&Sequential), [120, 0, 0, 0]);
}

#[test]
fn the_share_that_a_small_device_cannot_hold_goes_to_the_others() {
    let blocks = blocks(16);
    let plan = plan_devices(&items(&blocks), &Auto, &devices("a=100 b=100 c=10 cpu")).unwrap();
    assert_eq!(bytes_of(&plan), [80, 80, 0, 0]);
}

#[test]
fn a_cap_has_room_for_five_quarters_of_the_largest_block() {
    let blocks = blocks(5);
    let plan = plan_devices(&items(&blocks), &Auto, &devices("a b c d e f")).unwrap();
    // 50 / 6 + 1.25 * 10 = 20.
    assert_eq!(bytes_of(&plan), [20, 20, 10, 0, 0, 0]);
}

#[test]
fn the_last_main_device_keeps_its_full_limit_when_balancing() {
    // The caps are 110 / 2 + 1.25 * 10 = 67.
    let text: String = ('a'..='j')
        .map(|name| format!("{name}.w=1 "))
        .collect::<String>()
        + "z.w=100";
    let items = items(&text);
    let plan = plan_devices(&items, &Auto, &devices("x=200 y=100 cpu")).unwrap();
    assert_eq!(bytes_of(&plan), [10, 100, 0]);
}

#[test]
fn balancing_does_not_offload_what_the_main_devices_have_room_for() {
    // The caps are 100 / 2 + 1.25 * 40 = 100, the last device holds 20: only in turn it fits.
    let items = items("a.w=40 b.w=40 c.w=20 d.w=20 e.w=20");
    let plan = plan_devices(&items, &Auto, &devices("x=120 y=20 cpu disk")).unwrap();
    assert_eq!(bytes_of(&plan), [120, 20, 0, 0]);
}

/// huggingface/accelerate #762.
#[test]
fn issue_762_a_main_device_with_a_budget_of_zero_takes_no_part() {
    let blocks = blocks(2);
    for kind in [&Auto, &Sequential] {
        let plan = plan_devices(&items(&blocks), kind, &devices("cuda:0=0 cpu=20 disk")).unwrap();
        assert_eq!(bytes_of(&plan), [0, 20, 0]);
        assert!(plan.devices.iter().all(|device| device.reserved == 0));
    }
}

/// huggingface/accelerate #4297.
#[test]
fn issue_4297_gaps_and_zero_budgets_among_the_devices_do_not_unbalance() {
    let blocks = blocks(10);
    let of = |text| bytes_of(&plan_devices(&items(&blocks), &Auto, &devices(text)).unwrap());
    assert_eq!(of("cuda:0=200 cuda:1=200 cpu"), [60, 40, 0]);
    assert_eq!(of("cuda:0=200 cuda:3=200 cpu"), [60, 40, 0]);
    assert_eq!(of("cuda:0=200 cuda:1=0 cuda:2=200 cpu"), [60, 0, 40, 0]);
    assert_eq!(of("cuda:0=0 cuda:1=200 cuda:2=200 cpu"), [0, 60, 40, 0]);
    assert_eq!(of("cuda:0 cuda:1 cpu"), [60, 40, 0]);
}

#[test]
fn what_does_not_fit_says_how_much_and_where() {
    let error = plan_devices(&items(&blocks(4)), &Auto, &devices("cuda:0=10 disk=1000"));
    error.unwrap();
    let blocks = blocks(4);
    let error =
        plan_devices(&items(&blocks), &Auto, &devices("cuda:0=10 cpu=0 disk=20")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "40 bytes do not fit: no room left for `h.3.a.w` (8 bytes) on `cuda:0` (10 bytes), \
         `cpu` (0 bytes), `disk` (20 bytes)"
    );
    let huge = items("a=18446744073709551615 b=1");
    let error = plan_devices(&huge, &Auto, &devices("disk")).unwrap_err();
    assert_eq!(error.kind(), "does_not_fit");
    assert!(plan_devices(&items("a=0"), &Auto, &[]).is_err());
    assert!(
        plan_devices(&[], &Auto, &[])
            .unwrap()
            .assignments
            .is_empty()
    );
}

fn explicit(entries: &[(&str, &str)]) -> DeviceMap {
    let entries = entries
        .iter()
        .map(|(prefix, device)| (prefix.to_string(), device.to_string()));
    DeviceMap::Map(entries.collect())
}

#[test]
fn an_explicit_map_goes_by_the_longest_prefix_of_components() {
    let items = items("a.b=1 a.b.c=2 a.bc=4 z=8");
    let map = explicit(&[("", "disk"), ("a.b", "cpu"), ("a.b.c", "x")]);
    let plan = plan_devices(&items, &map, &devices("x cpu disk")).unwrap();
    assert_eq!(plan.assignments, [1, 0, 2, 2]);
    assert_eq!(bytes_of(&plan), [2, 1, 12]);
}

#[test]
fn an_explicit_map_is_held_to_names_and_limits() {
    let items = items("a.w=10 b.w=5");
    let of =
        |entries: &[_]| plan_devices(&items, &explicit(entries), &devices("x=12 cpu")).unwrap_err();
    let error = of(&[("a", "x")]);
    assert!(matches!(&error, LoadError::NoDeviceFor { tensor } if tensor == "b.w"));
    let error = of(&[("", "x"), ("nobody", "gpu")]);
    assert_eq!(error.to_string(), "unknown device `gpu`; known: x, cpu");
    let message = of(&[("", "x")]).to_string();
    assert!(
        message.ends_with("puts 15 bytes there, 3 over its limit of 12"),
        "{message}"
    );
}

#[test]
fn a_plan_prints_and_serializes() {
    let plan = plan_devices(&items(&blocks(4)), &Auto, &devices("cuda:0=35 cpu")).unwrap();
    let text = plan.to_string();
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "cuda:0 4 tensors 20 bytes of 35, 10 kept free",
            "cpu 4 tensors 20 bytes"
        ]
    );
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["devices"][1]["kind"], "cpu");
}

#[test]
fn a_tensor_with_the_name_of_a_module_collapses_to_its_own_entry() {
    let items = items("a=1 a.b=1 a.c=1");
    let devices = devices("x cpu");
    let given = explicit(&[("a", "x"), ("a.b", "cpu"), ("a.c", "cpu")]);
    let plan = plan_devices(&items, &given, &devices).unwrap();
    assert_eq!(DeviceMap::Map(collapse(&plan, &names(&items))), given);
}

fn arbitrary_items() -> impl Strategy<Value = Vec<(String, u64)>> {
    let name = prop_oneof![
        "(m\\.)?h\\.(1[0-2]|[0-9])\\.(a|b|e\\.[0-2])\\.(weight|bias)",
        "(m|lm_head|0)\\.(weight|bias)",
        "[0a.]{0,5}",
    ];
    prop::collection::btree_map(name, 0..50_u64, 0..40)
        .prop_map(|items| items.into_iter().collect())
}

fn arbitrary_devices() -> impl Strategy<Value = Vec<DeviceLimit>> {
    let limit = prop_oneof![3 => (0..600_u64).prop_map(Some), 1 => Just(None), 1 => Just(Some(0))];
    (
        prop::collection::vec(limit.clone(), 0..4),
        limit.clone(),
        limit,
    )
        .prop_map(|(mains, cpu, disk)| {
            let mains = mains.into_iter().enumerate();
            let mut devices: Vec<_> = mains
                .map(|(i, limit)| DeviceLimit {
                    name: format!("cuda:{i}"),
                    limit,
                    kind: DeviceKind::Main,
                })
                .collect();
            devices.push(DeviceLimit {
                name: "cpu".into(),
                limit: cpu,
                kind: DeviceKind::Cpu,
            });
            devices.push(DeviceLimit {
                name: "disk".into(),
                limit: disk,
                kind: DeviceKind::Disk,
            });
            devices
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn plans_hold_their_promises(
        named in arbitrary_items(),
        devices in arbitrary_devices(),
        balance in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let items: Vec<_> =
            named.iter().map(|(name, bytes)| PlanItem { name, bytes: *bytes }).collect();
        let total: u64 = items.iter().map(|item| item.bytes).sum();
        let map = if balance { Auto } else { Sequential };
        let limits = devices.iter().map(|device| device.limit.unwrap_or(u64::MAX));
        let largest = limits.max().unwrap_or(0);
        let plan = match plan_devices(&items, &map, &devices) {
            Ok(plan) => plan,
            Err(error) => {
                let LoadError::DoesNotFit { needed, .. } = error else { panic!("{error:?}") };
                prop_assert_eq!(needed, total);
                // A device that holds everything is enough, wherever it stands.
                prop_assert!(largest < total || largest == 0);
                return Ok(());
            }
        };

        // Every tensor once, the bytes add up, no limit is exceeded.
        prop_assert_eq!(plan.assignments.len(), items.len());
        let mut bytes = vec![0; devices.len()];
        let mut tensors = vec![0; devices.len()];
        for (item, place) in items.iter().zip(&plan.assignments) {
            bytes[*place] += item.bytes;
            tensors[*place] += 1;
        }
        for ((device, planned), (bytes, tensors)) in
            devices.iter().zip(&plan.devices).zip(bytes.iter().zip(&tensors))
        {
            prop_assert_eq!((planned.bytes, planned.tensors), (*bytes, *tensors));
            prop_assert!(planned.bytes + planned.reserved <= device.limit.unwrap_or(u64::MAX));
            prop_assert!(device.limit != Some(0) || planned.tensors == 0);
        }
        prop_assert_eq!(bytes.iter().sum::<u64>(), total);

        // In natural order the devices only go up.
        let modules = Modules::new(&items).unwrap();
        let in_order = modules.items(modules.root()).iter().map(|item| plan.assignments[*item]);
        prop_assert!(in_order.is_sorted());

        // Nothing is kept free unless something is offloaded.
        let offloaded = plan.devices.iter().any(|device| device.kind != DeviceKind::Main && device.tensors > 0);
        prop_assert!(offloaded || plan.devices.iter().all(|device| device.reserved == 0));
        // Auto offloads only if filling the main devices in turn does too.
        if offloaded && balance {
            let in_turn = plan_devices(&items, &Sequential, &devices).unwrap();
            prop_assert_eq!(&plan, &in_turn);
        }

        // The collapsed map says the same.
        let compact = collapse(&plan, &names(&items));
        prop_assert!(compact.len() <= items.len());
        let again = plan_devices(&items, &DeviceMap::Map(compact), &devices).unwrap();
        prop_assert_eq!(&again.assignments, &plan.assignments);

        // The order of the items does not matter.
        let mut places: Vec<usize> = (0..items.len()).collect();
        places.sort_by_key(|place| (*place as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let shuffled: Vec<_> = places.iter().map(|place| items[*place]).collect();
        let again = plan_devices(&shuffled, &map, &devices).unwrap();
        let expected: Vec<_> = places.iter().map(|place| plan.assignments[*place]).collect();
        prop_assert_eq!(again.assignments, expected);
    }

    #[test]
    fn blocks_and_leaves_stay_whole_where_the_disk_holds_everything(
        named in arbitrary_items(),
        main in 1..600_u64,
    ) {
        let items: Vec<_> =
            named.iter().map(|(name, bytes)| PlanItem { name, bytes: *bytes }).collect();
        let devices = devices(&format!("cuda:0={main} cpu=100 disk"));
        let plan = plan_devices(&items, &Auto, &devices).unwrap();
        let modules = Modules::new(&items).unwrap();
        let packer = Packer::new(&modules, &devices);
        for module in modules.cut(|module| packer.stays_whole(module)) {
            let mut places = modules.items(module).iter().map(|item| plan.assignments[*item]);
            let same = places.next().is_none_or(|first| places.all(|place| place == first));
            prop_assert!(same, "{} was taken apart", modules.path(module));
        }
    }
}
