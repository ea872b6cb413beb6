"""Run in a network namespace of its own (`unshare -nm`): a station with an access point and a modem, a phone at the one
and the Internet behind the other, as far as Linux goes. Prints as JSON who reached whom."""

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.phone import Site

AP, MODEM, PHONE, INTERNET = "192.168.4.1", "10.64.0.2", "192.168.4.7", "10.64.0.1"
LINKS = f"""\
mount -t tmpfs tmpfs /run
ip link set lo up
ip netns add phone
ip netns add internet
ip link add ap0 type veth peer name eth0 netns phone
ip link add wwan0 type veth peer name eth0 netns internet
ip address add {AP}/24 dev ap0
ip address add {MODEM}/24 dev wwan0
ip link set ap0 up
ip link set wwan0 up
ip -n phone address add {PHONE}/24 dev eth0
ip -n phone link set eth0 up
ip -n internet address add {INTERNET}/24 dev eth0
ip -n internet link set eth0 up
ip route add default via {INTERNET} dev wwan0
ip -n internet route add {AP}/32 via {MODEM}"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0)"


def reaches(netns: str, address: str, port: int) -> bool:
    command = ["ip", "netns", "exec", netns, sys.executable, "-I", "-c", CONNECT, address, str(port)]
    return not subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


def main() -> None:
    for line in LINKS.splitlines():
        subprocess.run(line.split(), check=True)
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), address=AP)
        told = site.let_in()
        port = int(told.address.rpartition(":")[2])
        found["phone"] = reaches("phone", AP, port)
        found["internet"] = reaches("internet", AP, port) or reaches("internet", MODEM, port)
        with socket.create_server((AP, 0)) as careless:
            found["internet, if it were not bound"] = reaches("internet", AP, careless.getsockname()[1])
        site.close()
        careless_site = Site(Path(folder), address=MODEM)
        found["at the modem's address"] = careless_site.let_in().problem
        careless_site.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
