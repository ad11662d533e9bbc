"""Points of edwards25519 whose order is small, found by arithmetic (RFC 8032 section 5.1)."""

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, PRIME) % PRIME
ROOT = pow(2, (PRIME - 1) // 4, PRIME)  # of -1
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """The sum of two points."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME)
    return x % PRIME, y % PRIME


def times(number: int, point: Point) -> Point:
    """The sum of so many times the same point."""
    total = (0, 1)
    while number:
        total = add(total, point) if number & 1 else total
        point, number = add(point, point), number >> 1
    return total


def point_at(y: int) -> Point | None:
    """A point with this y, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    for root in (x, x * ROOT % PRIME):
        if root * root % PRIME == square:
            return root, y
    return None


def small_order_points() -> set[Point]:
    """The eight points that a multiplication by eight takes to the neutral one."""
    for y in range(2, 100):
        point = point_at(y)
        torsion = times(ORDER, point) if point else (0, 1)
        if times(4, torsion) != (0, 1):
            return {times(number, torsion) for number in range(8)}
    raise AssertionError


def encodings(point: Point) -> set[bytes]:
    """All spellings of a point that some library takes: y beyond the prime, the sign of zero."""
    x, y = point
    signs = {x & 1, 0, 1} if x == 0 else {x & 1}
    return {
        (spelled | sign << 255).to_bytes(32, "little")
        for spelled in (y, y + PRIME)
        if spelled < 1 << 255
        for sign in signs
    }
