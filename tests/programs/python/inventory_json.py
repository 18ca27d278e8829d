"""Read an inventory as JSON, reckon with it, and write it again."""
import json
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal

TEXT = """[
  {"sku": "B-7", "name": "Schraube \\u00bd\\"", "price": 0.10, "stock": 1200, "added": "2024-02-28T23:30:00+00:00"},
  {"sku": "A-1", "name": "naïve gauge", "price": 19.995, "stock": 3, "added": "1999-12-31T12:00:00+05:30",
   "tags": ["fragile", "new"]},
  {"sku": "C-3", "name": "anvil", "price": 1e3, "stock": 0, "added": "2000-02-29T00:00:00-08:00"}
]"""


@dataclass(order=True)
class Item:
    sku: str
    name: str = field(compare=False)
    price: Decimal
    stock: int
    added: datetime
    tags: list = field(default_factory=list)

    @property
    def value(self):
        return (self.price * self.stock).quantize(Decimal("0.01"), ROUND_HALF_EVEN)


def encode(value):
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    raise TypeError(f"what to do with {type(value).__name__}?")


items = []
for raw in json.loads(TEXT, parse_float=Decimal):
    raw["added"] = datetime.fromisoformat(raw["added"])
    items.append(Item(**raw))

for item in sorted(items):
    review = item.added.astimezone(timezone.utc) + timedelta(days=1, hours=1)
    print(f"{item.sku:<4}{item.name:<14}{item.value:>12,} review {review:%a %d %b %Y %H:%M}")
print("total", sum(item.value for item in items))
print(json.dumps([asdict(item) for item in sorted(items)], default=encode, indent=1, ensure_ascii=False))
print(json.dumps({"b": [1, 2.50, None], "a": {"ü": True}}, sort_keys=True, separators=(",", ":")))
try:
    json.loads('{"a": [1, 2,]}')
except json.JSONDecodeError as error:
    print("bad:", error)
try:
    json.dumps({"when": date(2024, 1, 1)}, default=encode)
except TypeError as error:
    print("bad:", error)
