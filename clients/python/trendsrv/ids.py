"""Identity and checksums: XXH3-64, the vnode of a tenant, CRC32C, the rule for names.

Pure functions; the algorithms are those that docs/protocol.md names, written for names of at most
255 bytes and for frames of some kilobytes. XXH3 is by Yann Collet (xxHash, BSD 2-Clause); its
default secret below is part of the algorithm.
"""

import unicodedata

NAME_BYTES_MAX = 255
VNODES = 4_096

_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF


class NameRuleError(ValueError):
    """A name that is empty, too long, not UTF-8, or has a control character."""


def check_name(name):
    """Return the UTF-8 bytes of a name, or raise NameRuleError saying which part of the rule broke.

    Takes text, or bytes as they came from the wire.
    """
    try:
        raw = name.encode("utf-8") if isinstance(name, str) else bytes(name)
        text = raw.decode("utf-8")
    except UnicodeError as error:
        raise NameRuleError(f"name is not UTF-8: {error}") from None
    if not raw:
        raise NameRuleError("name is empty; 1 to 255 bytes of UTF-8 are allowed")
    if len(raw) > NAME_BYTES_MAX:
        raise NameRuleError(f"name has {len(raw)} bytes; at most {NAME_BYTES_MAX} are allowed")
    for at, char in enumerate(text):
        if unicodedata.category(char) == "Cc":
            raise NameRuleError(f"name has a control character at character {at}")
    return raw


def name_id(name):
    """Return the id of a tenant's or topic's name: XXH3-64, seed 0, of its UTF-8 bytes."""
    return xxh3_64(check_name(name))


def vnode(tenant_id):
    """Return the vnode that owns a tenant: the top 12 bits of fmix64."""
    return fmix64(tenant_id) >> 52


def fmix64(x):
    """The 64-bit finaliser of MurmurHash3."""
    x ^= x >> 33
    x = x * 0xFF51_AFD7_ED55_8CCD & _U64
    x ^= x >> 33
    x = x * 0xC4CE_B9FE_1A85_EC53 & _U64
    return x ^ x >> 33


def crc32c(data, crc=0):
    """CRC32C (Castagnoli) of data, continued from an earlier result."""
    table = _CRC_TABLE
    crc ^= _U32
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ _U32


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F6_3B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC_TABLE = _crc_table()


# --- XXH3-64, seed 0 ----------------------------------------------------------------------------

_PRIME32_1, _PRIME32_2, _PRIME32_3 = 0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D
_PRIME64_1 = 0x9E37_79B1_85EB_CA87
_PRIME64_2 = 0xC2B2_AE3D_27D4_EB4F
_PRIME64_3 = 0x1656_67B1_9E37_79F9
_PRIME64_4 = 0x85EB_CA77_C2B2_AE63
_PRIME64_5 = 0x27D4_EB2F_1656_67C5
_PRIME_MX1 = 0x1656_6791_9E37_79F9
_PRIME_MX2 = 0x9FB2_1C65_1E98_DF25

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8"
    "fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364ea"
    "c5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b"
    "16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
assert len(_SECRET) == 192


def xxh3_64(data):
    """XXH3-64 with seed 0 of at most a few kilobytes."""
    size = len(data)
    if size == 0:
        return _avalanche64(_u64(_SECRET, 56) ^ _u64(_SECRET, 64))
    if size <= 3:
        return _1_to_3(data, size)
    if size <= 8:
        return _4_to_8(data, size)
    if size <= 16:
        return _9_to_16(data, size)
    if size <= 128:
        return _17_to_128(data, size)
    if size <= 240:
        return _129_to_240(data, size)
    return _long(data, size)


def _u32(data, at):
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data, at):
    return int.from_bytes(data[at : at + 8], "little")


def _swap64(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def _fold(a, b):
    product = a * b
    return (product ^ product >> 64) & _U64


def _avalanche64(x):
    """The finaliser of XXH64."""
    x ^= x >> 33
    x = x * _PRIME64_2 & _U64
    x ^= x >> 29
    x = x * _PRIME64_3 & _U64
    return x ^ x >> 32


def _avalanche(x):
    """The finaliser of XXH3."""
    x ^= x >> 37
    x = x * _PRIME_MX1 & _U64
    return x ^ x >> 32


def _1_to_3(data, size):
    combined = data[0] << 16 | data[size >> 1] << 24 | data[size - 1] | size << 8
    flip = _u32(_SECRET, 0) ^ _u32(_SECRET, 4)
    return _avalanche64(combined ^ flip)


def _4_to_8(data, size):
    flip = _u64(_SECRET, 8) ^ _u64(_SECRET, 16)
    x = (_u32(data, size - 4) | _u32(data, 0) << 32) ^ flip
    x ^= (x << 49 | x >> 15) & _U64 ^ (x << 24 | x >> 40) & _U64
    x = x * _PRIME_MX2 & _U64
    x ^= (x >> 35) + size
    x = x * _PRIME_MX2 & _U64
    return x ^ x >> 28


def _9_to_16(data, size):
    low = _u64(data, 0) ^ _u64(_SECRET, 24) ^ _u64(_SECRET, 32)
    high = _u64(data, size - 8) ^ _u64(_SECRET, 40) ^ _u64(_SECRET, 48)
    return _avalanche((size + _swap64(low) + high + _fold(low, high)) & _U64)


def _mix16(data, at, secret_at):
    low = _u64(data, at) ^ _u64(_SECRET, secret_at)
    high = _u64(data, at + 8) ^ _u64(_SECRET, secret_at + 8)
    return _fold(low, high)


def _17_to_128(data, size):
    total = size * _PRIME64_1
    for pair in range((size - 1) // 32, -1, -1):
        total += _mix16(data, 16 * pair, 32 * pair)
        total += _mix16(data, size - 16 * (pair + 1), 32 * pair + 16)
    return _avalanche(total & _U64)


def _129_to_240(data, size):
    total = size * _PRIME64_1
    for i in range(8):
        total += _mix16(data, 16 * i, 16 * i)
    total = _avalanche(total & _U64)
    for i in range(8, size // 16):
        total += _mix16(data, 16 * i, 16 * (i - 8) + 3)
    total += _mix16(data, size - 16, 136 - 17)
    return _avalanche(total & _U64)


def _accumulate(lanes, data, at, secret_at):
    for i in range(8):
        value = _u64(data, at + 8 * i)
        key = value ^ _u64(_SECRET, secret_at + 8 * i)
        lanes[i ^ 1] = lanes[i ^ 1] + value & _U64
        lanes[i] = lanes[i] + (key & _U32) * (key >> 32) & _U64


def _scramble(lanes):
    for i in range(8):
        lane = lanes[i]
        lane ^= lane >> 47
        lane ^= _u64(_SECRET, len(_SECRET) - 64 + 8 * i)
        lanes[i] = lane * _PRIME32_1 & _U64


def _long(data, size):
    lanes = [
        _PRIME32_3,
        _PRIME64_1,
        _PRIME64_2,
        _PRIME64_3,
        _PRIME64_4,
        _PRIME32_2,
        _PRIME64_5,
        _PRIME32_1,
    ]
    stripes_per_block = (len(_SECRET) - 64) // 8
    block = 64 * stripes_per_block
    stripes = (size - 1) // 64
    for stripe in range(stripes):
        _accumulate(lanes, data, 64 * stripe, 8 * (stripe % stripes_per_block))
        if (64 * (stripe + 1)) % block == 0:
            _scramble(lanes)
    _accumulate(lanes, data, size - 64, len(_SECRET) - 64 - 7)
    total = size * _PRIME64_1
    for i in range(4):
        low = lanes[2 * i] ^ _u64(_SECRET, 11 + 16 * i)
        high = lanes[2 * i + 1] ^ _u64(_SECRET, 19 + 16 * i)
        total += _fold(low, high)
    return _avalanche(total & _U64)
