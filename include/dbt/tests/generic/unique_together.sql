{# Key values that more than one row has; nulls count as a value. #}
{% test unique_together(model, columns) %}
select {{ columns | join(', ') }}, count(*) as nb_rows
from {{ model }}
group by all
having count(*) > 1
{% endtest %}
