"""ModemManager with one modem, as a template of python-dbusmock.

Objects and properties are laid out as ModemManager 1.20 has them. Methods
change the state as the real service does: Connect makes a bearer with an
address, Disconnect takes it away, Enable sets the state, SendPin unlocks.
"""
import dbus

BUS_NAME = "org.freedesktop.ModemManager1"
MAIN_OBJ = "/org/freedesktop/ModemManager1"
MAIN_IFACE = BUS_NAME
SYSTEM_BUS = False
IS_OBJECT_MANAGER = True

MODEM, BEARER, SIM = (MAIN_OBJ + p for p in ("/Modem/0", "/Bearer/0", "/SIM/0"))
NAMES = {"n": BUS_NAME, "m": MODEM, "b": BEARER}


def load(mock, _parameters):
    mock.AddObject(SIM, BUS_NAME + ".Sim", {"SimIdentifier": "8944000000000000017"}, [
        ("SendPin", "s", "", """if args[0] != "4711":
    raise dbus.exceptions.DBusException("wrong PIN", name="%(n)s.Error.MobileEquipment.IncorrectPassword")
objects["%(m)s"].UpdateProperties("%(n)s.Modem", {"UnlockRequired": dbus.UInt32(1)})""" % NAMES),
    ])
    mock.AddObject(BEARER, BUS_NAME + ".Bearer", {
        "Connected": dbus.Boolean(False), "Stats": dbus.Dictionary({"rx-bytes": dbus.UInt64(4618), "tx-bytes": dbus.UInt64(3832)}, signature="sv"),
        "Ip4Config": dbus.Dictionary({}, signature="sv"),
    }, [])
    mock.AddObject(MODEM, BUS_NAME + ".Modem", {
        "State": dbus.Int32(8), "StateFailedReason": dbus.UInt32(0), "UnlockRequired": dbus.UInt32(2),
        "Manufacturer": "Mock", "Model": "M1", "Revision": "1.0", "EquipmentIdentifier": "866758040000017",
        "Device": "/sys/devices/pci0000:00/usb1/1-1/1-1.2", "PrimaryPort": "cdc-wdm0",
        "Sim": dbus.ObjectPath(SIM), "Bearers": dbus.Array([dbus.ObjectPath(BEARER)], signature="o"),
    }, [
        ("Enable", "b", "", 'self.UpdateProperties("%(n)s.Modem", {"State": dbus.Int32(8 if args[0] else 3)})' % NAMES),
        ("Reset", "", "", ""),
    ])
    modem = mock_object(MODEM)
    modem.AddProperties(BUS_NAME + ".Modem.Modem3gpp", {"RegistrationState": dbus.UInt32(5), "OperatorName": "Mock Mobile", "OperatorCode": "26201"})
    modem.AddMethod(BUS_NAME + ".Modem.Modem3gpp", "Register", "s", "",
                    'self.UpdateProperties("%(n)s.Modem.Modem3gpp", {"RegistrationState": dbus.UInt32(1)})' % NAMES)
    modem.AddProperties(BUS_NAME + ".Modem.Signal", {"Lte": dbus.Dictionary(
        {"rsrp": -97.0, "rsrq": -11.0, "snr": 9.4, "rssi": -68.0}, signature="sv")})
    modem.AddMethod(BUS_NAME + ".Modem.Signal", "Setup", "u", "", "")
    modem.AddProperties(BUS_NAME + ".Modem.Location", {"Location": dbus.Dictionary({}, signature="uv")})
    modem.AddMethod(BUS_NAME + ".Modem.Location", "Setup", "ub", "", """if args[0] == 1 and args[1]:
    self.props["%(n)s.Modem.Location"]["Location"] = dbus.Dictionary({dbus.UInt32(1): "262,01,FFFE,1A2B3C4,00C3"}, signature="uv")""" % NAMES)
    modem.AddMethod(BUS_NAME + ".Modem.Simple", "Connect", "a{sv}", "o", """if args[0].get("apn") != "internet":
    raise dbus.exceptions.DBusException("unknown access point", name="%(n)s.Error.MobileEquipment.Unknown")
objects["%(b)s"].props["%(n)s.Bearer"]["Ip4Config"] = dbus.Dictionary({
    "method": dbus.UInt32(2), "address": "10.64.0.5", "prefix": dbus.UInt32(30), "dns1": "10.64.0.53",
    "mtu": dbus.UInt32(1430)}, signature="sv")
objects["%(b)s"].UpdateProperties("%(n)s.Bearer", {"Connected": dbus.Boolean(True)})
ret = dbus.ObjectPath("%(b)s")""" % NAMES)
    modem.AddMethod(BUS_NAME + ".Modem.Simple", "Disconnect", "o", "",
                    'objects["%(b)s"].UpdateProperties("%(n)s.Bearer", {"Connected": dbus.Boolean(False)})' % NAMES)


def mock_object(path):
    from dbusmock.mockobject import objects
    return objects[path]
