"""What every page shows."""
def site(request):
    return {}
