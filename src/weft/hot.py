"""What each hot command imports of weft, in the order in which the imports end.

The launcher reads these from one file a command (boot.py). Written by tests/harness/imports.py: an import
that a hot command gains or loses shows here, and is to be put up with on purpose.
"""

from __future__ import annotations

HOT: dict[str, tuple[str, ...]] = {
    "ns exec": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.core.record weft.core.model.namespace weft.core.model.enter "
            "weft.core.model.address weft.core.model.names weft.core.model.target weft.engine "
            "weft.engine.reaping weft.engine.way weft.frontends.cli.nsexec weft.core.model.publish "
            "weft.core.model.network weft.core.plan weft.core.model.oci weft.core.ops weft.core.ops.base "
            "weft.core.plan.plan weft.engine.work weft.linux weft.linux.paths weft.core.ops.file "
            "weft.core.ops.netns weft.linux.files weft.linux.libc weft.linux.netns weft.linux.locks "
            "weft.watched weft.machine weft.wiring weft.store weft.core.model.policy weft.core.model.state "
            "weft.store.lean weft.store.texts weft.store.ballast weft.store.schema weft.store.database "
            "weft.store.networks weft.store.members weft.store.lives weft.store.sqlite weft.linux.mountapi "
            "weft.linux.mounts weft.linux.process weft.linux.enter"
        ).split()
    ),
    "run": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.core.record weft.core.model.address weft.core.model.publish "
            "weft.engine weft.core.drivers weft.core.firewall weft.core.model.names weft.core.model.network "
            "weft.core.ops weft.core.ops.base weft.core.wire weft.core.wire.buffer weft.core.wire.nft_data "
            "weft.core.wire.nft_udata weft.core.wire.nft_element weft.core.wire.nfnetlink weft.core.ops.nft "
            "weft.core.firewall.elements weft.core.wire.link weft.core.wire.rtnetlink weft.core.ops.address "
            "weft.core.ops.conntrack weft.core.ops.file weft.core.ops.route weft.core.ops.hop "
            "weft.core.ops.link weft.core.ops.loopback weft.core.ops.netns weft.core.ops.shard "
            "weft.core.drivers.bridge weft.core.model.policy weft.core.model.state weft.core.plan "
            "weft.core.model.oci weft.core.plan.plan weft.engine.drivers weft.engine.events "
            "weft.core.ops.cgroup weft.core.drivers.cgroup weft.engine.group weft.core.ipam "
            "weft.core.ipam.pool weft.engine.request weft.engine.lease weft.engine.ports "
            "weft.core.model.isolation weft.engine.spec weft.engine.work weft.engine.container "
            "weft.frontends.cli.isolation weft.frontends.cli.life weft.frontends.cli.command "
            "weft.frontends.cli.run weft.linux weft.linux.paths weft.linux.files weft.linux.libc "
            "weft.linux.netns weft.linux.locks weft.watched weft.machine weft.wiring weft.store "
            "weft.store.lean weft.store.texts weft.store.ballast weft.store.schema weft.store.database "
            "weft.store.networks weft.store.members weft.store.lives weft.store.sqlite weft.linux.loopback "
            "weft.core.model.facts weft.linux.netlink weft.linux.observe weft.linux.procfs "
            "weft.linux.refusals weft.linux.execute"
        ).split()
    ),
    "run command": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.core.record weft.core.model.address weft.core.model.publish "
            "weft.engine weft.core.drivers weft.core.firewall weft.core.model.names weft.core.model.network "
            "weft.core.ops weft.core.ops.base weft.core.wire weft.core.wire.buffer weft.core.wire.nft_data "
            "weft.core.wire.nft_udata weft.core.wire.nft_element weft.core.wire.nfnetlink weft.core.ops.nft "
            "weft.core.firewall.elements weft.core.wire.link weft.core.wire.rtnetlink weft.core.ops.address "
            "weft.core.ops.conntrack weft.core.ops.file weft.core.ops.route weft.core.ops.hop "
            "weft.core.ops.link weft.core.ops.loopback weft.core.ops.netns weft.core.ops.shard "
            "weft.core.drivers.bridge weft.core.model.policy weft.core.model.state weft.core.plan "
            "weft.core.model.oci weft.core.plan.plan weft.engine.drivers weft.engine.events "
            "weft.core.ops.cgroup weft.core.drivers.cgroup weft.engine.group weft.core.ipam "
            "weft.core.ipam.pool weft.engine.request weft.engine.lease weft.engine.ports "
            "weft.core.model.isolation weft.engine.spec weft.engine.work weft.engine.container "
            "weft.frontends.cli.isolation weft.frontends.cli.life weft.frontends.cli.command "
            "weft.frontends.cli.run weft.linux weft.linux.paths weft.linux.files weft.linux.libc "
            "weft.linux.netns weft.linux.locks weft.watched weft.machine weft.wiring weft.store "
            "weft.store.lean weft.store.texts weft.store.ballast weft.store.schema weft.store.database "
            "weft.store.networks weft.store.members weft.store.lives weft.store.sqlite "
            "weft.core.model.launch weft.core.drivers.options weft.engine.pools weft.engine.network "
            "weft.engine.run weft.linux.process weft.linux.loopback weft.core.model.facts "
            "weft.linux.netlink weft.linux.observe weft.linux.procfs weft.linux.refusals weft.linux.execute "
            "weft.core.model.hierarchy weft.linux.cgroup weft.linux.mountapi weft.linux.mounts "
            "weft.linux.enter weft.linux.init weft.linux.privileges weft.core.model.mountopt "
            "weft.linux.devices weft.linux.rootfs weft.linux.userns weft.linux.launch weft.linux.seccomp "
            "weft.linux.arp weft.engine.proxy weft.engine.removal weft.linux.door weft.core.wire.cri "
            "weft.core.wire.inotify weft.linux.ends weft.linux.logs"
        ).split()
    ),
    "exec": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.frontends.cli.command weft.engine weft.core.record "
            "weft.core.model.oci weft.core.model.isolation weft.core.model.policy weft.core.model.launch "
            "weft.engine.reaping weft.core.ops weft.core.ops.base weft.core.ops.netns weft.engine.spec "
            "weft.engine.enter weft.core.model.names weft.core.model.address weft.core.model.publish "
            "weft.core.model.network weft.core.plan weft.core.plan.plan weft.engine.work weft.linux "
            "weft.linux.paths weft.core.ops.file weft.linux.files weft.linux.libc weft.linux.netns "
            "weft.linux.locks weft.watched weft.machine weft.wiring weft.store weft.core.model.state "
            "weft.store.lean weft.store.texts weft.store.ballast weft.store.schema weft.store.database "
            "weft.store.networks weft.store.members weft.store.lives weft.store.sqlite weft.linux.loopback "
            "weft.linux.process weft.linux.mountapi weft.linux.mounts weft.linux.enter weft.linux.init "
            "weft.linux.privileges weft.core.model.mountopt weft.linux.devices weft.linux.rootfs "
            "weft.linux.userns weft.linux.launch weft.linux.seccomp weft.core.model.hierarchy "
            "weft.core.ops.cgroup weft.linux.cgroup"
        ).split()
    ),
    "rm": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.frontends.cli.net weft.engine weft.core.drivers "
            "weft.core.firewall weft.core.record weft.core.model.address weft.core.model.names "
            "weft.core.model.publish weft.core.model.network weft.core.ops weft.core.ops.base "
            "weft.core.wire weft.core.wire.buffer weft.core.wire.nft_data weft.core.wire.nft_udata "
            "weft.core.wire.nft_element weft.core.wire.nfnetlink weft.core.ops.nft "
            "weft.core.firewall.elements weft.core.wire.link weft.core.wire.rtnetlink weft.core.ops.address "
            "weft.core.ops.conntrack weft.core.ops.file weft.core.ops.route weft.core.ops.hop "
            "weft.core.ops.link weft.core.ops.loopback weft.core.ops.netns weft.core.ops.shard "
            "weft.core.drivers.bridge weft.core.model.policy weft.core.model.state weft.core.plan "
            "weft.core.model.oci weft.core.plan.plan weft.engine.drivers weft.engine.events "
            "weft.core.ops.cgroup weft.core.drivers.cgroup weft.engine.group weft.engine.work "
            "weft.engine.proxy weft.engine.removal weft.linux weft.linux.paths weft.linux.files "
            "weft.linux.libc weft.linux.netns weft.linux.locks weft.watched weft.machine weft.wiring "
            "weft.store weft.store.lean weft.store.texts weft.store.ballast weft.store.schema "
            "weft.store.database weft.store.networks weft.store.members weft.store.lives weft.store.sqlite "
            "weft.linux.loopback weft.linux.process weft.core.model.hierarchy weft.linux.cgroup "
            "weft.linux.door weft.linux.netlink weft.linux.procfs weft.linux.refusals weft.linux.execute "
            "weft.core.wire.cri weft.core.wire.inotify weft.linux.ends weft.linux.logs"
        ).split()
    ),
    "finished": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.core.record weft.core.model.policy weft.frontends.cli.life "
            "weft.engine weft.core.drivers weft.core.firewall weft.core.model.address weft.core.model.names "
            "weft.core.model.publish weft.core.model.network weft.core.ops weft.core.ops.base "
            "weft.core.wire weft.core.wire.buffer weft.core.wire.nft_data weft.core.wire.nft_udata "
            "weft.core.wire.nft_element weft.core.wire.nfnetlink weft.core.ops.nft "
            "weft.core.firewall.elements weft.core.wire.link weft.core.wire.rtnetlink weft.core.ops.address "
            "weft.core.ops.conntrack weft.core.ops.file weft.core.ops.route weft.core.ops.hop "
            "weft.core.ops.link weft.core.ops.loopback weft.core.ops.netns weft.core.ops.shard "
            "weft.core.drivers.bridge weft.core.model.state weft.core.plan weft.core.model.oci "
            "weft.core.plan.plan weft.engine.drivers weft.engine.events weft.core.ops.cgroup "
            "weft.core.drivers.cgroup weft.engine.group weft.engine.work weft.engine.proxy "
            "weft.engine.removal weft.linux weft.linux.paths weft.linux.files weft.linux.libc "
            "weft.linux.netns weft.linux.locks weft.watched weft.machine weft.wiring weft.store "
            "weft.store.lean weft.store.texts weft.store.ballast weft.store.schema weft.store.database "
            "weft.store.networks weft.store.members weft.store.lives weft.store.sqlite weft.linux.loopback"
        ).split()
    ),
    "ps": tuple(
        (
            "weft weft.frontends weft.frontends.cli weft.core weft.core.model weft.core.model.errors "
            "weft.frontends.cli.runflags weft.frontends.cli.spec weft.frontends.cli.args "
            "weft.frontends.cli.main weft.engine weft.core.drivers weft.core.firewall weft.core.record "
            "weft.core.model.address weft.core.model.names weft.core.model.publish weft.core.model.network "
            "weft.core.ops weft.core.ops.base weft.core.wire weft.core.wire.buffer weft.core.wire.nft_data "
            "weft.core.wire.nft_udata weft.core.wire.nft_element weft.core.wire.nfnetlink weft.core.ops.nft "
            "weft.core.firewall.elements weft.core.wire.link weft.core.wire.rtnetlink weft.core.ops.address "
            "weft.core.ops.conntrack weft.core.ops.file weft.core.ops.route weft.core.ops.hop "
            "weft.core.ops.link weft.core.ops.loopback weft.core.ops.netns weft.core.ops.shard "
            "weft.core.drivers.bridge weft.core.ipam weft.core.ipam.pool weft.core.model.policy "
            "weft.core.model.clock weft.core.model.hierarchy weft.engine.stats weft.engine.inspect "
            "weft.engine.reaping weft.frontends.cli.show weft.core.plan weft.core.model.oci "
            "weft.core.plan.plan weft.engine.work weft.linux weft.linux.paths weft.linux.files "
            "weft.linux.libc weft.linux.netns weft.linux.locks weft.watched weft.machine weft.wiring "
            "weft.store weft.core.model.state weft.store.lean weft.store.texts weft.store.ballast "
            "weft.store.schema weft.store.database weft.store.networks weft.store.members weft.store.lives "
            "weft.store.sqlite weft.linux.loopback weft.linux.process"
        ).split()
    ),
}
