"""manage.py fill N: products that are the same each time."""
import random
from decimal import Decimal

from django.core.management import call_command
from django.core.management.base import BaseCommand

from shop.models import Product

CATEGORIES = ["bags", "bikes", "books", "chairs", "coats", "lamps", "shoes", "tents", "tools", "toys"]
BRANDS = ["Aldin", "Borun", "Cetra", "Dovel", "Elmar", "Fosta", "Gerin", "Holt", "Ilvo", "Jorek", "Kessa", "Lumen"]
WORDS = """red blue green black white light heavy small large soft hard old new leather cotton steel wood glass paper
warm cold dry round flat long short quick quiet bright strong simple folding travel garden kitchen winter summer""".split()


class Command(BaseCommand):
    """Makes the tables, the products and the index."""

    help = "Fills the shop"

    def add_arguments(self, parser):
        parser.add_argument("count", type=int)

    def handle(self, *_, count, **__):
        call_command("migrate", run_syncdb=True, verbosity=0)
        Product.objects.all().delete()
        chance = random.Random(1)
        Product.objects.bulk_create((self.product(chance, number) for number in range(count)), batch_size=500)
        call_command("search_index", "--rebuild", "-f", verbosity=0)
        self.stdout.write("%d products" % count)

    @staticmethod
    def product(chance, number):
        category = chance.choice(CATEGORIES)
        return Product(
            name="%s %s %s %d" % (chance.choice(WORDS), chance.choice(WORDS), category, number),
            description=" ".join(chance.choices(WORDS, k=40)),
            category=category,
            brand=chance.choice(BRANDS),
            price=Decimal(chance.randrange(100, 100_000)) / 100,
            rating=round(chance.uniform(1, 5), 1),
            in_stock=chance.random() < 0.8,
        )
