{# Values outside [minimum, maximum], and missing ones; the bounds are numbers or other columns. #}
{% test in_range(model, column_name, minimum=none, maximum=none) %}
select {{ column_name }}
from {{ model }}
where
    {{ column_name }} is null
    {% if minimum is not none %} or {{ column_name }} < {{ minimum }}{% endif %}
    {% if maximum is not none %} or {{ column_name }} > {{ maximum }}{% endif %}
{% endtest %}
