"""Speaks to an emulated adapter with python-can's own slcan client.

    check_python.py read PORT COUNT     print COUNT frames as candump lines
    check_python.py write PORT LOG      send the frames of a candump log

TestPythonCAN in this folder runs it and compares; check_python.sh makes the
Python that it needs.
"""

import sys
import time

import can


def open_bus(port: str, listen_only: bool) -> can.BusABC:
    return can.Bus(interface="slcan", channel=port, bitrate=500_000, sleep_after_open=0, listen_only=listen_only)


def line(msg: can.Message) -> str:
    ident = f"{msg.arbitration_id:08X}" if msg.is_extended_id else f"{msg.arbitration_id:03X}"
    if msg.is_fd:
        body = f"##{int(msg.bitrate_switch):X}{msg.data.hex().upper()}"
    elif msg.is_remote_frame:
        body = f"#R{msg.dlc or ''}"
    else:
        body = f"#{msg.data.hex().upper()}"
    return f"(0.000000) can0 {ident}{body}"


def read(port: str, count: int) -> None:
    with open_bus(port, listen_only=True) as bus:
        hardware, software = bus.get_version(timeout=5)
        print(f"# version {hardware} {software} serial {bus.get_serial_number(timeout=5)}")
        for _ in range(count):
            msg = bus.recv(timeout=20)
            if msg is None:
                sys.exit("no frame for 20 s")
            print(line(msg))


def write(port: str, log: str) -> None:
    with open_bus(port, listen_only=False) as bus:
        for msg in can.LogReader(log):
            bus.send(msg, timeout=20)
        time.sleep(0.2)  # python-can does not wait for the adapter's answers before it closes the channel


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], int(sys.argv[3]))
    else:
        write(sys.argv[2], sys.argv[3])
