"""How products are indexed."""
from django_elasticsearch_dsl import Document, fields
from django_elasticsearch_dsl.registries import registry

from .models import Product


@registry.register_document
class ProductDocument(Document):
    """A product as it is searched."""

    name = fields.TextField(fields={"keyword": fields.KeywordField()})
    category = fields.KeywordField()
    brand = fields.KeywordField()
    price = fields.DoubleField()

    class Index:
        name = "shop-products"
        settings = {"number_of_shards": 1, "number_of_replicas": 0}

    class Django:
        model = Product
        fields = ["description", "rating", "in_stock"]
        # the page that a shopkeeper sees after saving shows what was saved
        auto_refresh = True
