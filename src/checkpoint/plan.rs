//! Which tensor goes to which device: a pure function of names, sizes and limits.
//!
//! Modelled on accelerate's `infer_auto_device_map` and `get_balanced_memory`
//! (<https://github.com/huggingface/accelerate>, `utils/modeling.py`): modules are placed in order,
//! each on the device that is being filled; one that does not fit is taken apart, unless its parts
//! belong together, and then the next device is begun. Without the model's classes at hand, what
//! belongs together is read off the names: a module whose last component is a number (a decoder
//! layer, an expert) is a *block*, and a module of nothing but tensors is a *leaf*.
//!
//! Different from there: devices are addressed by name and those with a limit of 0 take no part at
//! all (accelerate #762, #4297); nothing is kept free on the main devices while the checkpoint fits
//! on them; balancing never sends a tensor to the CPU that the main devices have room for; what
//! belongs together is parted when no device ahead holds it whole.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::device_map::{DeviceKind, DeviceLimit, DeviceMap, by_name, longest_prefix, unknown};
use super::error::{Grouped, LimitOf, LoadError};
use super::modules::{Module, Modules, PlanItem};

/// Which tensor goes to which device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// For each item, the place of its device in `devices`.
    pub assignments: Vec<usize>,
    /// All devices in the order they were given, unused ones too.
    pub devices: Vec<PlannedDevice>,
}

/// What a plan puts on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedDevice {
    /// The device's name.
    pub name: String,
    /// What it is for.
    pub kind: DeviceKind,
    /// Its limit in bytes, none for no limit.
    pub limit: Option<u64>,
    /// Bytes of the limit that are kept free, so that the largest module that is not taken apart
    /// can be brought back from the CPU or the disk; 0 if everything fits on the main devices.
    pub reserved: u64,
    /// Tensors placed there.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl fmt::Display for Plan {
    /// One line a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .devices
            .iter()
            .map(|device| device.name.len())
            .max()
            .unwrap_or(0);
        for device in &self.devices {
            let (tensors, bytes) = (Grouped(device.tensors as u64), Grouped(device.bytes));
            write!(
                f,
                "{:width$}  {tensors:>9} tensors  {bytes:>19} bytes",
                device.name
            )?;
            if let Some(limit) = device.limit {
                write!(f, " of {}", Grouped(limit))?;
            }
            if device.reserved > 0 {
                write!(f, ", {} kept free", Grouped(device.reserved))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Assigns every item to a device.
///
/// `devices` come in the order in which they are filled: the caller's, then the CPU, then the disk.
/// The plan depends on the names, the sizes and the limits only, not on the order of the items.
///
/// # Errors
/// If two devices have the same name; for a [`DeviceMap::Map`], if it names an unknown device, has
/// none for a tensor or exceeds a limit; otherwise if the checkpoint does not fit.
pub fn plan_devices(
    items: &[PlanItem<'_>],
    map: &DeviceMap,
    devices: &[DeviceLimit],
) -> Result<Plan, LoadError> {
    let places = by_name(devices)?;
    if let DeviceMap::Map(map) = map {
        let mut known = map.values();
        if let Some(device) = known.find(|device| !places.contains_key(device.as_str())) {
            return Err(unknown(device, devices));
        }
        let assigned = items
            .iter()
            .map(|item| match longest_prefix(map, item.name) {
                Some(device) => Ok(places[device]),
                None => Err(LoadError::NoDeviceFor {
                    tensor: item.name.to_owned(),
                }),
            });
        return tally(items, assigned.collect::<Result<_, _>>()?, devices, &[]);
    }
    let Some(modules) = Modules::new(items) else {
        return Err(does_not_fit(u64::MAX, items.last(), devices));
    };
    let packer = Packer::new(&modules, devices);
    let (assigned, reserved) = packer
        .pack(*map == DeviceMap::Auto)
        .map_err(|stuck| does_not_fit(modules.bytes(modules.root()), items.get(stuck), devices))?;
    tally(items, assigned, devices, &reserved)
}

fn does_not_fit(needed: u64, stuck: Option<&PlanItem<'_>>, devices: &[DeviceLimit]) -> LoadError {
    let limits = devices.iter();
    LoadError::DoesNotFit {
        needed,
        tensor: stuck.map_or_else(String::new, |item| item.name.to_owned()),
        tensor_bytes: stuck.map_or(0, |item| item.bytes),
        limits: limits
            .map(|device| LimitOf {
                device: device.name.clone(),
                limit: device.limit,
            })
            .collect(),
    }
}

/// Adds up what each device got and holds it against the limits.
fn tally(
    items: &[PlanItem<'_>],
    assignments: Vec<usize>,
    devices: &[DeviceLimit],
    reserved: &[u64],
) -> Result<Plan, LoadError> {
    let planned = devices
        .iter()
        .enumerate()
        .map(|(place, device)| PlannedDevice {
            name: device.name.clone(),
            kind: device.kind,
            limit: device.limit,
            reserved: reserved.get(place).copied().unwrap_or(0),
            tensors: 0,
            bytes: 0,
        });
    let mut planned: Vec<PlannedDevice> = planned.collect();
    for (item, place) in items.iter().zip(&assignments) {
        let device = &mut planned[*place];
        device.tensors += 1;
        device.bytes = device.bytes.saturating_add(item.bytes);
    }
    for PlannedDevice {
        name, limit, bytes, ..
    } in &planned
    {
        if let Some(limit) = limit.filter(|limit| bytes > limit) {
            return Err(LoadError::OverLimit {
                device: name.clone(),
                limit,
                needed: *bytes,
            });
        }
    }
    Ok(Plan {
        assignments,
        devices: planned,
    })
}

/// The devices that take part and what the modules ask of them.
struct Packer<'p, 'a> {
    modules: &'p Modules<'a>,
    /// How many devices were given.
    devices: usize,
    /// Those with room, in order.
    usable: Vec<Usable>,
    /// The limit of the largest main device.
    largest_main: u64,
}

#[derive(Clone, Copy)]
struct Usable {
    /// Place in the list of all devices.
    place: usize,
    /// Bytes; any number is the largest number.
    limit: u64,
    main: bool,
}

/// A device for each item, or the item that found none.
type Packed = Result<Vec<usize>, usize>;

impl<'p, 'a> Packer<'p, 'a> {
    fn new(modules: &'p Modules<'a>, devices: &[DeviceLimit]) -> Self {
        let usable = devices.iter().enumerate().map(|(place, device)| Usable {
            place,
            limit: device.limit.unwrap_or(u64::MAX),
            main: device.kind == DeviceKind::Main,
        });
        let usable: Vec<Usable> = usable.filter(|device| device.limit > 0).collect();
        let mains = usable.iter().filter(|device| device.main);
        let largest_main = mains.map(|device| device.limit).max().unwrap_or(u64::MAX);
        Self {
            modules,
            devices: devices.len(),
            usable,
            largest_main,
        }
    }

    /// Balanced; else in turn; else in turn with room kept free; else in turn again. The first
    /// that leaves nothing off the main devices, or else the last that fits, wins.
    fn pack(&self, balance: bool) -> Result<(Vec<usize>, Vec<u64>), usize> {
        let full: Vec<u64> = self.usable.iter().map(|device| device.limit).collect();
        let mains = self.usable.iter().filter(|device| device.main).count();
        if balance && mains > 1 {
            match self.walk(&self.balanced(mains)) {
                Ok(assigned) if self.all_on_main(&assigned) => return Ok((assigned, Vec::new())),
                _ => {}
            }
        }
        let in_turn = self.walk(&full)?;
        if mains == 0 || self.all_on_main(&in_turn) {
            return Ok((in_turn, Vec::new()));
        }
        let (caps, reserved) = self.with_reserve();
        match self.walk(&caps) {
            Ok(assigned) => Ok((assigned, reserved)),
            Err(_) => Ok((in_turn, Vec::new())),
        }
    }

    fn all_on_main(&self, assigned: &[usize]) -> bool {
        let mut main = vec![false; self.devices];
        for device in &self.usable {
            main[device.place] = device.main;
        }
        assigned.iter().all(|place| main[*place])
    }

    /// Whether a module's parts belong together.
    fn stays_whole(&self, module: Module) -> bool {
        let modules = self.modules;
        if modules.is_tensor(module) || modules.is_leaf(module) {
            return true;
        }
        // A block of blocks that no main device holds is a container: else a model whose names
        // all begin with `0.` would be one block, and go to the CPU whole.
        let container =
            || modules.bytes(module) > self.largest_main && modules.holds_numbered(module);
        modules.is_numbered(module) && !container()
    }

    /// Fills one device after the other up to `caps`, which go with `usable`.
    fn walk(&self, caps: &[u64]) -> Packed {
        let modules = self.modules;
        // The largest cap of the devices after each one.
        let mut ahead = vec![0; caps.len()];
        for at in (1..caps.len()).rev() {
            ahead[at - 1] = caps[at].max(ahead[at]);
        }

        let mut assigned = vec![0; modules.items(modules.root()).len()];
        let (mut at, mut free) = (0, caps.first().copied().unwrap_or(0));
        let mut open = vec![modules.root()];
        while let Some(module) = open.pop() {
            let bytes = modules.bytes(module);
            let held_ahead = ahead.get(at).is_some_and(|ahead| bytes <= *ahead);
            if let Some(device) = self.usable.get(at).filter(|_| bytes <= free) {
                free -= bytes;
                for item in modules.items(module) {
                    assigned[*item] = device.place;
                }
            } else if held_ahead && at + 1 < caps.len() && self.stays_whole(module) {
                at += 1;
                free = caps[at];
                open.push(module);
            } else if modules.is_tensor(module) {
                return Err(modules.items(module)[0]);
            } else {
                open.extend(modules.children(module).into_iter().rev());
            }
        }
        Ok(assigned)
    }

    /// Caps under which the main devices get about the same: each its share of the whole and room
    /// for 1.25 of the largest block or the mean leaf, whichever is more, so that the rounding to
    /// whole blocks does not push the last ones out; the last device keeps its limit.
    fn balanced(&self, mains: usize) -> Vec<u64> {
        let modules = self.modules;
        let leaves = modules.cut(|module| modules.is_leaf(module));
        let leaves = leaves
            .into_iter()
            .filter(|module| !modules.is_tensor(*module));
        let sizes: Vec<u64> = leaves.map(|leaf| modules.bytes(leaf)).collect();
        let mean_leaf = sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1);
        let blocks = modules.cut(|module| self.stays_whole(module)).into_iter();
        let blocks = blocks.filter(|module| modules.is_numbered(*module));
        let largest_block = blocks.map(|block| modules.bytes(block)).max().unwrap_or(0);
        let larger = largest_block.max(mean_leaf);
        let room = larger.saturating_add(larger / 4);
        let cap = self.share(mains).saturating_add(room);

        let mut left = mains;
        let caps = self.usable.iter().map(|device| {
            left -= usize::from(device.main);
            if device.main && left > 0 {
                device.limit.min(cap)
            } else {
                device.limit
            }
        });
        caps.collect()
    }

    /// The whole divided by the main devices; what the smaller ones cannot hold of it is shared
    /// out among the others.
    fn share(&self, mains: usize) -> u64 {
        let mut limits: Vec<u64> = self
            .usable
            .iter()
            .filter(|device| device.main)
            .map(|device| device.limit)
            .collect();
        limits.sort_unstable();
        let mut rest = self.modules.bytes(self.modules.root());
        for (limit, sharers) in limits.into_iter().zip((1..=mains as u64).rev()) {
            let share = rest / sharers;
            if limit >= share {
                return share;
            }
            rest -= limit;
        }
        u64::MAX
    }

    /// Caps that leave room on each main device for the largest module that stays whole and could
    /// be brought there, and what is kept free on each of all devices.
    fn with_reserve(&self) -> (Vec<u64>, Vec<u64>) {
        let modules = self.modules;
        let whole = modules.cut(|module| self.stays_whole(module)).into_iter();
        let sizes: Vec<u64> = whole.map(|module| modules.bytes(module)).collect();
        let mut reserved = vec![0; self.devices];
        let caps = self.usable.iter().map(|device| {
            if device.main && device.limit < u64::MAX {
                let held = sizes.iter().filter(|size| **size <= device.limit);
                reserved[device.place] = held.max().copied().unwrap_or(0);
            }
            device.limit - reserved[device.place]
        });
        (caps.collect(), reserved)
    }
}

/// The compact map that assigns the items as the plan does: a module whose tensors all lie on one
/// device has one entry, and so the whole checkpoint the entry `""`.
///
/// `names` are those of the items, in their order.
///
/// ```
/// # use ipfs_accelerate::checkpoint::*;
/// let items = ["h.0.w", "h.0.b", "h.1.w"].map(|name| PlanItem { name, bytes: 4 });
/// let limit = |name: &str, kind| DeviceLimit { name: name.into(), limit: Some(10), kind };
/// let devices = [limit("cuda:0", DeviceKind::Main), limit("cuda:1", DeviceKind::Main)];
/// let plan = plan_devices(&items, &DeviceMap::Sequential, &devices).unwrap();
/// let map = collapse(&plan, &items.map(|item| item.name));
/// assert_eq!(map["h.0"], "cuda:0");
/// assert_eq!(map["h.1"], "cuda:1");
/// assert_eq!(map.len(), 2);
/// ```
pub fn collapse(plan: &Plan, names: &[&str]) -> BTreeMap<String, String> {
    let items: Vec<_> = names
        .iter()
        .map(|name| PlanItem { name, bytes: 0 })
        .collect();
    let mut map = BTreeMap::new();
    let Some(modules) = Modules::new(&items) else {
        return map;
    };
    let device = |item: usize| {
        plan.assignments
            .get(item)
            .and_then(|place| plan.devices.get(*place))
    };
    let uniform = |module| {
        let mut devices = modules.items(module).iter().map(|item| device(*item));
        devices
            .next()
            .is_none_or(|first| devices.all(|other| other == first))
    };
    for module in modules.cut(uniform) {
        if let Some(device) = modules.items(module).first().and_then(|item| device(*item)) {
            map.insert(modules.path(module).to_owned(), device.name.clone());
        }
    }
    map
}

#[cfg(test)]
mod tests;
