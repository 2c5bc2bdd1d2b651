"""Makes the log of a car that is nothing like the recorded one, and its DBC.

    othercar.py DIR    writes DIR/car.log, DIR/car.dbc and DIR/faulty.dbc

The log has three interfaces, of which the DBC belongs to the first; standard and
extended ids, CAN FD, frames shorter and longer than the DBC says, unknown ids and
selectors, remote and error frames, equal and falling stamps, damaged lines, and an
end in the middle of a line. The DBC has multiplexed (also in two levels), float,
signed, 64-bit, big-endian and named signals, names that several messages share,
and names that the output rows have taken. faulty.dbc is the same with statements
that cannot be read: what it says right must be decoded all the same. The same call
makes the same bytes.
"""

import math
import pathlib
import random
import struct
import sys

DBC = '''VERSION "other car"
BU_: ECU GW
BO_ 256 Engine: 8 ECU
 SG_ RPM : 0|16@1+ (0.25,0) [0|16383] "rpm" GW
 SG_ Temp : 16|8@1- (1,40) [-88|167] "degC" GW
 SG_ Torque : 31|12@0- (0.1,-10.3) [0|0] "Nm" GW
 SG_ Gear : 40|4@1+ (1,0) [0|8] "" GW
 SG_ Counter : 44|4@1+ (1,0) [0|15] "" GW
 SG_ seq : 48|8@1+ (1,0) [0|255] "" GW
 SG_ event : 56|8@1+ (2,-1) [0|0] "" GW
BO_ 257 Gearbox: 8 ECU
 SG_ Counter : 0|4@1+ (1,0) [0|15] "" GW
 SG_ Temp : 8|10@1- (0.125,-7) [0|0] "degC" GW
 SG_ Ratio : 18|13@1+ (0.001,1e-3) [0|0] "" GW
BO_ 258 Pages: 8 ECU
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" GW
 SG_ Pressure m0 : 8|16@1- (0.01,0) [0|0] "bar" GW
 SG_ Fuel m1 : 15|12@0+ (0.5,0) [0|0] "l" GW
 SG_ Lambda m1 : 32|16@1+ (0.0001,0) [0|0] "" GW
 SG_ Always : 56|8@1+ (1,0) [0|0] "" GW
BO_ 259 Deep: 8 ECU
 SG_ Outer M : 0|4@1+ (1,0) [0|0] "" GW
 SG_ Inner m1M : 4|4@1+ (1,0) [0|0] "" GW
 SG_ Leaf m2 : 8|16@1- (1,0) [0|0] "" GW
 SG_ Other m3 : 8|24@1+ (1,0) [0|0] "" GW
BO_ 260 Wide: 8 ECU
 SG_ All : 0|64@1+ (1,0) [0|0] "" GW
BO_ 261 WideSigned: 8 ECU
 SG_ AllSigned : 7|64@0- (1,0) [0|0] "" GW
BO_ 262 Floats: 8 ECU
 SG_ F32 : 0|32@1- (1,0) [0|0] "" GW
 SG_ F32Scaled : 32|32@1- (0.1,5) [0|0] "" GW
BO_ 263 Double: 8 ECU
 SG_ F64 : 7|64@0- (1,0) [0|0] "" GW
BO_ 2566844672 Vehicle: 8 GW
 SG_ Speed : 8|16@1+ (0.00390625,0) [0|250] "km/h" ECU
 SG_ Heading : 24|17@1- (0.0055,0) [0|0] "deg" ECU
BO_ 2147483904 EngineExtended: 4 ECU
 SG_ Counter : 0|8@1+ (1,0) [0|255] "" GW
 SG_ Load : 8|9@1+ (0.4,-3) [0|0] "%" GW
BO_ 768 Flexible: 64 ECU
SIGNALS
CM_ SG_ 256 RPM "engine speed; with a semicolon and 2 lines
of text";
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG","","","","","","","","","","","StandardCAN_FD","ExtendedCAN_FD";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 768 14;
VAL_ 256 Gear 0 "neutral" 1 "first" 2 "second" 15 "broken" ;
SIG_VALTYPE_ 262 F32 : 1;
SIG_VALTYPE_ 262 F32Scaled : 1;
SIG_VALTYPE_ 263 F64 : 2;
SG_MUL_VAL_ 259 Inner Outer 1-1;
SG_MUL_VAL_ 259 Leaf Inner 2-2, 5-7;
SG_MUL_VAL_ 259 Other Inner 3-3;
'''

# Put behind the line that begins with the key.
FAULTS = {
    " SG_ event": ' SG_ Broken : 0|x@1+ (1,0) [0|0] "" GW\n SG_ NoBits : 8|0@1+ (1,0) [0|0] "" GW\n',
    " SG_ Ratio": "BO_ what NoNumber: 8 ECU\n SG_ Orphan : 0|8@1+ (1,0) [0|0] \"\" GW\nTHIS IS NO STATEMENT\n",
    "VAL_ 256": 'VAL_ 99999 Nothing 0 "a" ;\nVAL_ 256 Nobody 0 "b" ;\nSIG_VALTYPE_ 256 RPM : 9;\n',
    "SG_MUL_VAL_ 259 Other": 'BO_ 999 Late 8\nCM_ "a text that never ends\n',
}

SECONDS, START_NS = 60, 1_700_000_000_123_456_000


def dbc(faulty):
    signals = "".join(f' SG_ Cell{i:02d} : {i * 16}|16@1+ (0.0001,1.5) [0|0] "V" GW\n' for i in range(32))
    text = DBC.replace("SIGNALS\n", signals)
    if not faulty:
        return text
    out = []
    for line in text.splitlines(keepends=True):
        out.append(line)
        out.extend(fault for start, fault in FAULTS.items() if line.startswith(start))
    return "".join(out)


class Car:
    def __init__(self):
        self.rand = random.Random(20)
        self.lines = []
        self.t = START_NS

    def write(self, ident, data, bus="can0", extended=False, fd="", step=0):
        stamp = self.t + step
        name = f"{ident:08X}" if extended else f"{ident:03X}"
        body = data if isinstance(data, str) else data.hex().upper()
        self.lines.append(f"({stamp // 10**9}.{stamp % 10**9 // 1000:06d}) {bus} {name}#{fd}{body}\n")

    def noise(self, n):
        return self.rand.randbytes(n)

    def tick(self, k):
        """What is on the buses in millisecond k."""
        r = self.rand
        if k % 10 == 0:
            self.write(0x100, self.noise(8))
        if k % 10 == 3:
            self.write(0x101, self.noise(8))
            self.write(0x101, self.noise(8))  # twice at one instant
        if k % 20 == 5:
            self.write(0x102, bytes([r.choice([0, 1, 1, 7])]) + self.noise(7))  # 7 selects nothing
        if k % 20 == 7:
            self.write(0x103, bytes([r.choice([0x21, 0x31, 0x61, 0x02, 0x41])]) + self.noise(7))
        if k % 50 == 11:
            self.write(0x104, r.choice([self.noise(8), b"\xff" * 8, bytes(8)]))
            self.write(0x105, r.choice([self.noise(8), b"\x80" + bytes(7), b"\xff" * 8]))
        if k % 20 == 13:
            odd = r.choice([math.nan, math.inf, -0.0, 1e-42, 3.4e38, r.gauss(0, 100), r.gauss(0, 1)])
            self.write(0x106, struct.pack("<ff", odd, r.gauss(20, 5)))
            self.write(0x107, struct.pack(">d", r.choice([r.gauss(0, 1e300), r.gauss(0, 1), 5e-324, -math.inf])))
        if k % 20 == 2:
            self.write(0x18FEF100, self.noise(8), extended=True)
            self.write(0x100, self.noise(4), extended=True)  # the engine's number, but extended
        if k % 10 == 6:
            self.write(0x300, self.noise(64), fd=f"#{r.choice('013')}")
        if k % 100 == 50:
            self.write(0x100, self.noise(r.choice([0, 1, 3, 5])))  # short
            self.write(0x300, self.noise(r.choice([12, 20, 48])), fd="#1")
            self.write(0x106 if k % 200 == 50 else 0x80, self.noise(8), extended=k % 200 == 50)  # unknown
            self.write(0x80000 + r.randrange(20), self.noise(2), extended=True)  # unknown
            self.write(0x101, "R8")
            self.write(0x20000004, bytes(8), extended=True)  # an error frame
        if k % 5 == 1:
            self.write(0x100, self.noise(8), bus="can1", step=-400_000)  # before what stands above
            self.write(0x18FEF100, self.noise(8), bus="vcan-3", extended=True)
        if k % 1500 == 700:
            self.lines += [
                "\n", "# a comment\n", "(17000", ") can0 100#00\n", f"({self.t // 10**9}.5) can0 100#0011223\n",
                f"({self.t // 10**9}.5) can0 1000#00\n", "\xff\xfe noise on the serial line\n", "x" * 9000 + "\n",
            ]

    def log(self):
        for k in range(SECONDS * 1000):
            self.t = START_NS + k * 1_000_000 + self.rand.randrange(200) * 1000
            self.tick(k)
        self.write(0x100, bytes(8))
        return "".join(self.lines).rstrip("\n")[:-8]  # in the middle of the last frame


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "car.log").write_text(Car().log(), encoding="latin-1")
    (out / "car.dbc").write_text(dbc(False), encoding="latin-1")
    (out / "faulty.dbc").write_text(dbc(True), encoding="latin-1")


if __name__ == "__main__":
    main()
