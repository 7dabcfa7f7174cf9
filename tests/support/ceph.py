"""A Ceph object store of one node on loopback: a monitor, a disk and the S3 gateway, from Debian's packages."""

import http.client
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph")
MISSING = "the tests need a real object store, but {} is missing: `make stores` installs it from Debian's packages"
START_LIMIT_S = 120.0

# Differences from the defaults: a single disk keeps one copy; there are no cephx keys; the monitor decides at once;
# services that only a production cluster needs are off.
CONFIGURATION = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor_port}/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
paxos propose interval = 0.02
paxos min wait = 0.01
mon tick interval = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
rgw rados pool pg num min = 1
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
mon osd full ratio = 0.99
mon osd nearfull ratio = 0.98
mon osd backfillfull ratio = 0.985
osd failsafe full ratio = 0.995
mon data avail crit = 1
mon data avail warn = 2
osd objectstore = {store}
memstore device bytes = 2147483648
bluestore block size = 8589934592
bluestore cache autotune = false
bluestore cache size = 134217728
osd memory target = 939524096
osd op num shards = 2
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 32
rgw relaxed region enforcement = true
rgw enable usage log = false
rgw enable ops log = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw run sync thread = false
run dir = {folder}
crash dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file =
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
"""


class Ceph:
    """One store in a folder of its own.

    A `durable` store keeps its data on disk and survives `kill`; another one keeps it in memory and starts faster.
    """

    def __init__(self, ports: tuple[int, int], key: str, secret: str, *, durable: bool = False) -> None:
        if missing := [program for program in PROGRAMS if not shutil.which(program)]:
            pytest.fail(MISSING.format(" and ".join(missing)), pytrace=False)
        self.port, self._monitor_port = ports
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # Not in pytest's folders, because the path of a socket must be shorter than 108 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ceph-"))
        self._fsid, self._disk = str(uuid.uuid4()), str(uuid.uuid4())
        self._processes: list[subprocess.Popen[bytes]] = []
        self._format("bluestore" if durable else "memstore")
        self.start(first=True)
        self._admin(
            "radosgw-admin user create --uid=test --display-name=test",
            f"--access-key={key}",
            f"--secret={secret}",
        )

    def start(self, first: bool = False) -> None:
        """Start the daemons, and return when the gateway answers."""
        self._spawn("ceph-mon -f -i a")
        if first:
            self._admin("ceph osd new", self._disk)
            self._admin("ceph-osd --mkfs -i 0 --osd-uuid", self._disk)
        self._spawn("ceph-osd -f -i 0")
        self._spawn("radosgw -f -n client.rgw.a")
        self._wait()

    def kill(self) -> None:
        """Send SIGKILL to every daemon, as if the machine lost power."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def close(self) -> None:
        """End the daemons and remove everything."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _format(self, store: str) -> None:
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir()
        values = {"fsid": self._fsid, "folder": self._folder, "store": store, "port": self.port}
        text = CONFIGURATION.format(monitor_port=self._monitor_port, **values)
        (self._folder / "ceph.conf").write_text(text)
        monitors = str(self._folder / "monmap")
        self._admin(f"monmaptool --create --fsid {self._fsid} --addv a [v2:127.0.0.1:{self._monitor_port}]", monitors)
        self._admin("ceph-mon --mkfs -i a --monmap", monitors)

    def _admin(self, command: str, *more: str) -> None:
        done = subprocess.run(
            [*command.split(), *more], env=self._env, capture_output=True, text=True, timeout=START_LIMIT_S, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"

    def _spawn(self, command: str) -> None:
        with (self._folder / f"{command.split()[0]}.out").open("ab") as output:
            self._processes.append(subprocess.Popen(command.split(), env=self._env, stdout=output, stderr=output))

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            gateway = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                gateway.request("GET", "/")
                if gateway.getresponse().status < 500:
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                gateway.close()
        logs = "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in self._folder.glob("*.out"))
        pytest.fail(f"Ceph did not start within {START_LIMIT_S:.0f} s\n{logs}", pytrace=False)

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self._folder / "ceph.conf")}
