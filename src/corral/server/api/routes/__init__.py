"""One module per thing of the API: it reads what is asked, calls one use case, and answers."""
