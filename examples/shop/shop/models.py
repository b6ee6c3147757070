"""What is sold."""
from django.db import models


class Product(models.Model):
    """Saving one updates the index too: django-elasticsearch-dsl listens to Django's signals."""

    name = models.CharField(max_length=120)
    description = models.TextField()
    category = models.CharField(max_length=40)
    brand = models.CharField(max_length=40)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    rating = models.FloatField()
    in_stock = models.BooleanField()
