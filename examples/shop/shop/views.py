"""The pages: each asks the engine, none asks the database."""
from django.http import Http404
from django.shortcuts import render
from elasticsearch_dsl import A

from .documents import ProductDocument


def with_facets(search):
    """Adds what the left side of a page shows."""
    search.aggs.bucket("categories", A("terms", field="category", size=20, order={"_key": "asc"}))
    brands = search.aggs.bucket("brands", A("terms", field="brand", size=50))
    brands.metric("rating", A("avg", field="rating"))
    search.aggs.bucket("prices", A("histogram", field="price", interval=100, min_doc_count=1))
    search.aggs.metric("middle", A("percentiles", field="price", percents=[25, 50, 75]))
    return search


def answer(request, template, search, **context):
    """Renders a page with what was found."""
    found = search.extra(track_total_hits=True).execute()
    return render(request, template, {"found": found, "total": found.hits.total.value, **context})


def home(request):
    """Best rated, in stock."""
    search = with_facets(ProductDocument.search().filter("term", in_stock=True).sort("-rating", "price", "name.keyword"))
    return answer(request, "list.html", search[:24], title="Best rated")


def category(request, name):
    """A category, by price."""
    search = ProductDocument.search().filter("term", category=name).sort("price", "name.keyword")
    return answer(request, "list.html", with_facets(search)[:24], title=name)


def find(request):
    """What people typed."""
    words = request.GET.get("q", "")
    if not words:
        raise Http404("?q= is missing")
    search = ProductDocument.search().query(
        "multi_match", query=words, fields=["name^3", "description", "brand^2"], fuzziness="AUTO"
    )
    search = search.highlight("description", fragment_size=80).sort("_score", "name.keyword")
    return answer(request, "list.html", with_facets(search)[:24], title="Found for " + words)


def statistics(request):
    """What a shopkeeper looks at each morning."""
    search = ProductDocument.search()[:0]
    by = search.aggs.bucket("categories", A("terms", field="category", size=20, order={"_key": "asc"}))
    by.metric("prices", A("extended_stats", field="price")).metric("rating", A("avg", field="rating"))
    by.bucket("brands", A("terms", field="brand", size=5)).metric("prices", A("percentiles", field="price", percents=[50]))
    return answer(request, "statistics.html", search)
